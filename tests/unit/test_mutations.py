"""The list of mutations stays current: a change that cannot be made any more would pass for noticed."""

import ast
import importlib.util
from pathlib import Path

import pytest

from guidelab.plan.rules import RULES

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "guidelab"
FORMULAS = (
    "assemble",
    "core",
    "metrics",
    "divergence",
    "features",
    "nets",
    "sampling",
    "train",
    "data",
    "jobs",
)
ELSEWHERE = {  # modules of other rooms that compute
    "accept/compare.py", "autoencoder.py", "checkpoints/from_adm.py", "checkpoints/from_dit.py", "checkpoints/from_edm.py",
    "checkpoints/from_edm2.py", "checkpoints/statistics.py", "checkpoints/vae.py", "compute/precision.py", "costs/diverging.py",
    "costs/flops.py", "costs/samples.py", "costs/training.py", "paper/divergence_errors.py", "paper/divergence_numbers.py",
    "paper/divergence_repeats.py", "paper/reported.py", "paper/reproduced.py", "paper/select.py", "paper/summary.py",
    "spec/levels.py",
}  # fmt: skip
NO_FORMULA = {
    "assemble/densities.py": "looks a density up",
    "core/guidance/term.py": "an interface",
    "data/loose.py": "reads a folder of images",
    "data/npy.py": "reads a header",
    "data/strict_json.py": "reads JSON",
    "sampling/interfaces.py": "interfaces",
    "data/archive.py": "judges the entries of a ZIP",
    "data/crop_files.py": "hands files to processes",
    "data/download.py": "fetches a file",
    "data/fashion_mnist_files.py": "finds files",
    "data/fold.py": "a container",
    "data/placeholders.py": "names the kind of a file",
    "data/image_set.py": "a container and its checks",
    "data/limits.py": "limits of readers",
    "data/notice.py": "messages",
    "data/tar.py": "judges the members of an archive",
    "divergence/subject.py": "containers",
    "features/weights.py": "reads weights",
    "metrics/fidelity.py": "calls one metric library",
    "metrics/torchvision_repair.py": "repairs an import",
    "nets/edm2_compiled.py": "compiles the formulas of other modules",
    "train/ahead.py": "reads ahead in threads",
    "train/curves.py": "writes logs",
    "train/state.py": "names a folder",
    "train/stop.py": "an exception",
}


def _runner():
    path = ROOT / "tests" / "mutations" / "__main__.py"
    spec = importlib.util.spec_from_file_location("mutations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = _runner()


@pytest.fixture(scope="module")
def listed():
    return {change.file for change in RUNNER.mutations()}


@pytest.mark.parametrize("change", RUNNER.mutations(), ids=lambda m: f"{m.file}:{m.old[:30]}")
def test_every_change_can_be_made_and_is_run_by_a_test(change):
    text = (SRC / change.file).read_text(encoding="utf-8")
    compile(RUNNER.mutated(text, change), change.file, "exec")
    assert change.equivalent or RUNNER.tests_of(change, ROOT)
    assert all((ROOT / "tests" / f"{name}.py").is_file() for name in change.tests)


def test_a_change_that_does_not_apply_is_an_error():
    with pytest.raises(ValueError, match="occurs 0 times, wanted once"):
        RUNNER.mutated("x = 1", RUNNER.Mutation("core/x.py", "y = 1", "y = 2"))


def test_every_formula_module_has_a_change(listed):
    files = {str(path.relative_to(SRC)) for room in FORMULAS for path in (SRC / room).rglob("*.py")}
    modules = {file for file in files if not file.endswith("__init__.py")} | ELSEWHERE
    assert modules - listed - set(NO_FORMULA) == set()
    assert set(NO_FORMULA) - modules == set() and set(NO_FORMULA) & listed == set()


def test_every_job_function_has_a_change(listed):
    found = {f"jobs/{path.name}" for path in (SRC / "jobs").glob("*.py") if _has_run(path)}
    assert {f"jobs/{rule.entry}.py" for rule in RULES.values()} - found == set()
    assert found - listed == set()


def _has_run(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body)
