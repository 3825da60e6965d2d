"""The code digest: what changes a job's digest, what does not, and how far a job reaches."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import guidelab
from guidelab import digest, registry
from guidelab.digest import Tree, code_digest, reachable
from guidelab.errors import UserError

PACKAGE = Path(guidelab.__file__).parent
JOBS = (
    "prepare",
    "train",
    "reconstruct",
    "sample",
    "density",
    "discriminate",
    "measure",
    "collect",
    "table",
    "figure",
)

FILES = {
    "__init__.py": '__version__ = "1"\n',
    "errors.py": "class UserError(Exception):\n    pass\n",
    "registry.py": (
        "A = 3\nMETHODS = {\n"
        '    "pull": Entry("guidelab.guidance.pull:Pull", neutral=1.0),\n'
        '    "push": Entry("guidelab.guidance.push:Push", neutral=0.0),\n}\n'
        'NAMES = {n: Entry("guidelab.numbers:all") for n in ("x", "y")}\n'
        "def load(name):\n    return METHODS[name]\n"
    ),
    "numbers.py": '"""Doc."""\nSCALE = 2.0\n\n\ndef double(x):\n    """Twice."""\n    return SCALE * x  # why\n',
    "guidance/__init__.py": (
        "from guidelab.guidance.pull import Pull\nfrom guidelab.guidance.push import Push\n\n__all__ = ['Pull', 'Push']\n"
    ),
    "guidance/pull.py": "from guidelab.numbers import double\n\n\nclass Pull:\n    weight = double(1)\n",
    "guidance/push.py": "class Push:\n    weight = 1\n",
    "late.py": "VALUE = 7\n",
    "hints.py": "Alias = int\n",
    "jobs/__init__.py": "",
    "jobs/plain.py": "import os\nfrom guidelab import numbers, registry\n\n\ndef run(job):\n    return numbers.double(1)\n",
    "jobs/facade.py": "from guidelab.guidance import Pull\n\n\ndef run(job):\n    return Pull()\n",
    "jobs/lazy.py": (
        "from typing import TYPE_CHECKING\nfrom guidelab.errors import UserError\n\nif TYPE_CHECKING:\n"
        "    from guidelab.hints import Alias\n\n\ndef run(job):\n    from guidelab.late import VALUE\n\n"
        "    if not VALUE:\n        raise UserError('none')\n    return VALUE\n"
    ),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "guidelab"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    class Edited:
        def digest(self, entry, *extra):
            return Tree(root).digest(entry, extra)

        def reach(self, entry, *extra):
            return Tree(root).closure([f"guidelab.jobs.{entry}", *extra])

        def edit(self, name, old, new):
            text = (root / name).read_text()
            assert old in text
            (root / name).write_text(text.replace(old, new))

    return Edited()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("numbers.py", "  # why", "  # another reason"),
        ("numbers.py", '"""Twice."""', '"""Two times, in other words."""'),
        ("numbers.py", '    """Twice."""\n', ""),
        ("numbers.py", "SCALE * x", "(\n        SCALE\n        * x\n    )"),
        ("numbers.py", "2.0", "2.00"),
        ("jobs/plain.py", "import os\nfrom guidelab import numbers, registry", "from guidelab import numbers, registry\nimport os"),
        ("jobs/plain.py", "numbers, registry", "registry, numbers"),
        ("__init__.py", '"1"', '"2"'),
        ("errors.py", "pass", "text = 'long'"),
        ("guidance/push.py", "weight = 1", "weight = 2"),
        ("registry.py", "neutral=0.0", "neutral=0.5"),
        ("registry.py", "METHODS = {\n", 'METHODS = {\n    "new": Entry("guidelab.new:New"),\n'),
    ],
)  # fmt: skip
def test_edits_that_change_no_number_change_no_digest(tree, name, old, new):
    jobs = [("plain", "guidelab.guidance.pull"), ("facade",)]
    before = [tree.digest(*job) for job in jobs]
    tree.edit(name, old, new)
    assert [tree.digest(*job) for job in jobs] == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("numbers.py", "2.0", "2.5"),
        ("numbers.py", "SCALE * x", "SCALE + x"),
        ("registry.py", "A = 3", "A = 4"),
        ("registry.py", "neutral=1.0", "neutral=2.0"),
        ("registry.py", "return METHODS[name]", "return METHODS.get(name)"),
        ("registry.py", '("x", "y")', '("x", "y", "z")'),
        ("guidance/pull.py", "double(1)", "double(2)"),
    ],
)
def test_edits_of_reached_code_change_the_digest(tree, name, old, new):
    before = tree.digest("plain", "guidelab.guidance.pull")
    tree.edit(name, old, new)
    assert tree.digest("plain", "guidelab.guidance.pull") != before


def test_one_method_changes_only_the_jobs_that_use_it(tree):
    pull, push = "guidelab.guidance.pull", "guidelab.guidance.push"
    before = tree.digest("plain", pull), tree.digest("plain", push)
    tree.edit("guidance/push.py", "weight = 1", "weight = 2")
    after = tree.digest("plain", pull), tree.digest("plain", push)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_names_are_followed_through_a_package_that_only_reexports(tree):
    assert tree.reach("facade") == {"guidelab.jobs.facade", "guidelab.guidance.pull", "guidelab.numbers"}
    tree.edit("guidance/__init__.py", "__all__", "TABLE = {}\n__all__")  # now it does something of its own
    assert {"guidelab.guidance", "guidelab.guidance.push"} <= tree.reach("facade")


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not(tree):
    assert tree.reach("lazy") == {"guidelab.jobs.lazy", "guidelab.late"}
    before = tree.digest("lazy")
    tree.edit("jobs/lazy.py", "'none'", "'nothing there; wanted something'")
    assert tree.digest("lazy") == before
    tree.edit("late.py", "7", "8")
    assert tree.digest("lazy") != before


def test_absent_and_broken_modules_are_named(tree):
    with pytest.raises(UserError, match=r"guidelab\.jobs\.nothing: a job needs this module"):
        tree.digest("nothing")
    tree.edit("late.py", "VALUE = 7", "VALUE = = 7")
    with pytest.raises(UserError, match=r"late\.py, line 1: is not valid Python"):
        tree.digest("lazy")


# ---- on the package itself --------------------------------------------------------------------------------------


def test_the_digest_distinguishes_methods_of_one_package():
    """Editing one guidance method may not rerun the others, except those built on it."""
    guidance = "guidelab.core.guidance"
    built_on = {
        f"{guidance}.classifier": {f"{guidance}.potential"},
        f"{guidance}.independent": {f"{guidance}.reference"},
    }
    methods = {entry.module for entry in registry.METHODS.values()}
    for module in methods:
        others = (methods - {module}) & set(reachable("sample", [module]))
        assert others <= built_on.get(module, set()), (module, others)
        assert module in reachable("sample", [module])


def _env():
    return {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1", "PATH": ""}


def test_all_digests_take_little_time(monkeypatch):
    """Every module is parsed once, however many jobs reach it (0.06 s for all; Snakemake needs 2 s to start)."""
    parsed = Counter()
    real = ast.parse

    def counted(source, filename="<unknown>", *args, **kwargs):
        parsed[filename] += 1
        return real(source, filename, *args, **kwargs)

    monkeypatch.setattr(ast, "parse", counted)
    tree = Tree(PACKAGE)
    for entry in JOBS:
        if (PACKAGE / "jobs" / f"{entry}.py").exists():
            tree.digest(entry, ())
    assert len(parsed) > 30 and set(parsed.values()) == {1}


def test_the_same_digest_comes_out_twice_and_without_importing_torch():
    code = (
        "import sys\nfrom guidelab.digest import code_digest\nprint(code_digest('sample'))\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=_env(), check=True
    )
    assert done.stdout.strip() == code_digest("sample")


def test_modules_left_out_of_the_digest_have_a_reason_and_decide_no_number():
    """They import nothing that computes, and of ours only each other, so what is in them reaches no result through them."""
    for name, why in digest._NO_NUMBERS.items():
        if name == digest.PACKAGE:
            continue  # no module takes a name from it: test_modules_import_modules_not_the_public_names
        path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
        tree = ast.parse(path.read_text())
        used = {
            f"{n.module}.{a.name}" if n.module in ("guidelab", "guidelab.registry") else n.module or ""
            for n in ast.walk(tree)
            if isinstance(n, ast.ImportFrom)
            for a in n.names
        }
        used |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        assert len(why.split()) > 3, name
        assert not {m.split(".")[0] for m in used} & {"numpy", "scipy", "pandas", "random"}, name
        ours = {m for m in used if m.startswith("guidelab.")}
        assert ours <= set(digest._NO_NUMBERS) and not used & {"guidelab", "guidelab.registry"}, name
        of_torch = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and _is_torch(n.value)}
        assert of_torch <= {"device", "cuda", "OutOfMemoryError"}, (
            name
        )  # names and counts devices, no arithmetic


def _is_torch(node):
    return isinstance(node, ast.Name) and node.id == "torch"


def test_an_edit_of_a_module_that_decides_no_number_changes_no_digest():
    reached = reachable("train", ["guidelab.jobs.image_learner"])
    assert "guidelab.train.loop" in reached
    assert not set(digest._NO_NUMBERS) & set(reached)
