"""Mutation test: change one line of a formula at a time and see whether a test fails.

    python tests/mutations                 every change of mutations.yaml (docs/testing.md states the last tally)
    python tests/mutations core/ema toy    changes of files whose path contains one of the words

Each change is made in a temporary copy of the tree. The test files that name the changed module run there one by one, the
likeliest first, until one fails; the test that fails must pass without the change. Exits with 1 and names the changes that no
test noticed.
"""

import argparse
import importlib
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutations.yaml")
_CPU_S, _WALL_S = 300, 1800  # for one test file; a change that makes a test hang counts as noticed
_COPIED = (
    *(
        "src",
        "tests",
        "workflow",
        "docs",
        "slurm",
        "benchmarks",
        "pyproject.toml",
        "params.yaml",
        "Snakefile",
    ),
    *("README.md", "Makefile", "dvc.yaml", "dvc.lock", "CITATION.cff", "CHANGELOG.md", "requirements.lock"),
)
_STEPS = 3  # from a module to its tests, over modules that import it
_PARITY = ("core", "nets", "features", "train")  # rooms that tests/parity compares with published code
_IMPORTED = (
    *(
        "torch",
        "torch.fx.experimental.symbolic_shapes",
        "pandas",
        "scipy.stats",
        "scipy.special",
        "pydantic",
        "pytest",
    ),
    *("safetensors.torch", "PIL.Image", "matplotlib.pyplot", "filelock", "tqdm"),
)
_FORK = multiprocessing.get_context(
    "fork"
)  # the libraries are imported once, and the package anew in each process


class Mutation(NamedTuple):
    """One change: `old` becomes `new` in a file below `src/guidelab`; `tests`: test files to run first."""

    file: str
    old: str
    new: str
    equivalent: str = ""
    tests: tuple[str, ...] = ()


def mutations() -> list[Mutation]:
    """All changes of mutations.yaml."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [
        Mutation(file, **change, tests=tuple(held["tests"]))
        for file, held in listed.items()
        for change in held["changes"]
    ]


def mutated(text: str, change: Mutation) -> str:
    """The file's text with the change made.

    Raises:
        ValueError: `old` does not occur exactly once.
    """
    count = text.count(change.old)
    if count != 1:
        raise ValueError(f"{change.file}: {change.old!r} occurs {count} times, wanted once")
    return text.replace(change.old, change.new)


def tests_of(change: Mutation, tree: Path, near: bool = False) -> list[str]:
    """The change's own test files; unless `near`, those that mention the module, of the same name first, and parity too."""
    own = [path for name in change.tests if (path := tree / "tests" / f"{name}.py").is_file()]
    if near:
        return [str(path.relative_to(tree)) for path in own]
    units = sorted((tree / "tests" / "unit").glob("test_*.py"))
    source = tree / "src" / "guidelab"
    modules = [change.file]
    for _ in range(_STEPS):  # no test names the module: those that name a module that imports it, and so on
        found = [path for path in units if any(_mentions(path, module) for module in modules)]
        if found:
            break
        users = [path for path in source.rglob("*.py") if any(_mentions(path, module) for module in modules)]
        modules = [str(path.relative_to(source)) for path in users]
    name, package = Path(change.file).stem, change.file.split("/")[0]
    found.sort(
        key=lambda path: (f"_{name}_" not in f"{path.stem}_", name not in path.stem, path.stat().st_size)
    )
    parity = sorted((tree / "tests" / "parity").glob("test_*.py")) if package in _PARITY else []
    return [str(path.relative_to(tree)) for path in dict.fromkeys([*own, *found, *parity])]


@cache
def _mentions(path: Path, file: str) -> bool:
    """Whether a module imports or names another."""
    module = file.removesuffix(".py").replace("/", ".")
    package, _, name = module.rpartition(".")
    above = re.escape(f"guidelab.{package}".rstrip("."))
    all_of_it = rf"|from {above} import" if package.startswith("core.") else ""
    pattern = rf"guidelab\.{re.escape(module)}\b|from {above} import [^#]*?\b{name}\b{all_of_it}"
    return re.search(pattern, _text(path)) is not None


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _pytest(tree: Path, tests: tuple[str, ...], log: Path) -> None:
    """Run a test file, or some tests, in this process, which is a fork; exits with pytest's status."""
    os.chdir(tree)
    sys.path.insert(0, str(tree / "src"))
    os.environ["PYTHONPATH"] = str(tree / "src")
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import pytest

    arguments = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    os._exit(int(pytest.main(arguments)))


class Tree:
    """A copy of the tree in which changes are made and tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._log = folder / "tree", folder / "log"
        self._noticed: set[str] = set()  # tests that failed with a change
        self._changes = 0
        self.folder.mkdir()
        for name in _COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.folder / name)

    def noticed_by(self, change: Mutation, near: bool) -> str:
        """The test that fails with the change, or the file that hangs; empty if none does. The tree is as before afterwards."""
        path = self.folder / "src" / "guidelab" / change.file
        original, times = path.read_text(encoding="utf-8"), path.stat()
        for test in tests_of(change, self.folder, near):
            self._changes += 1
            path.write_text(mutated(original, change), encoding="utf-8")
            os.utime(
                path, (self._changes,) * 2
            )  # bytecode is known by time and size: every change has its own
            try:
                found = self._failing(test)
            finally:
                path.write_text(original, encoding="utf-8")
                os.utime(path, (times.st_atime, times.st_mtime))
            if found:
                self._noticed.add(found)
                return found
        return ""

    def unsound(self) -> list[str]:
        """Of the tests that noticed a change, those that fail without one too: their failure shows nothing."""
        files = sorted({test.partition("::")[0] for test in self._noticed})
        groups = [sorted(test for test in self._noticed if test.partition("::")[0] == file) for file in files]
        return [test for group in groups if (test := self._failing(*group))]

    def _failing(self, *tests: str) -> str:
        """The first test that fails of some tests or of a test file; empty if all pass."""
        process = _FORK.Process(target=_pytest, args=(self.folder, tests, self._log))
        process.start()
        process.join(_WALL_S)
        if process.is_alive():
            process.kill()
            process.join()
            return tests[0]
        if process.exitcode in (0, 5):  # passed, or none of its tests is chosen
            return ""
        log = self._log.read_text(errors="replace")
        failed = re.search(r"^(?:FAILED|ERROR) ([^\s\[]+)", log, re.MULTILINE)
        return failed[1] if failed else tests[0]


def main() -> int:
    """Run the changes; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only changes of files whose path contains one of these")
    parser.add_argument("--near", action="store_true", help="only the test files that mutations.yaml names")
    words, near = (given := parser.parse_args()).words, given.near
    chosen = [m for m in mutations() if not words or any(word in m.file for word in words)]
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # forks cannot keep threads
    for name in _IMPORTED:
        importlib.import_module(name)
    began, counts = time.monotonic(), dict.fromkeys(("noticed", "missed", "equivalent"), 0)
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder))
        for number, change in enumerate(chosen, 1):
            start = time.monotonic()
            by = "" if change.equivalent else tree.noticed_by(change, near)
            outcome = "equivalent" if change.equivalent else "noticed" if by else "missed"
            counts[outcome] += 1
            line = f"{number}/{len(chosen)} {change.file}: {change.old!r} -> {change.new!r}: {outcome}"
            print(f"{line} {by or change.equivalent} ({time.monotonic() - start:.1f} s)", flush=True)
        unsound = tree.unsound()
    for test in unsound:
        print(f"{test} fails without a change: what it noticed shows nothing")
    tally = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print(f"{len(chosen)} changes in {time.monotonic() - began:.0f} s: {tally}")
    return 1 if counts["missed"] or unsound else 0


if __name__ == "__main__":
    sys.exit(main())
