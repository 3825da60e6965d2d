"""Mutation test: change one line of a formula at a time and see whether a test fails.

    python tests/mutations                 every change of mutations.yaml (about half an hour on two cores)
    python tests/mutations core/ema toy    changes of files whose path contains one of the words

Each change is made in a temporary copy of the tree; the tests that import the changed module are run there until the
first failure. Exits with 1 and names what no test noticed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutations.yaml")
LIMIT_S = 600  # for the tests of one change; a change that makes a test hang counts as noticed
_COPIED = ("src", "tests", "pyproject.toml", "params.yaml", "workflow", "Snakefile", "README.md")


class Mutation(NamedTuple):
    """One change: `old` becomes `new` in a file below `src/guidelab`; `tests` names test files that run it unnamed."""

    file: str
    old: str
    new: str
    equivalent: str = ""
    tests: tuple[str, ...] = ()


def mutations() -> list[Mutation]:
    """All changes of mutations.yaml."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [
        Mutation(file, **{**entry, "tests": tuple(entry.get("tests", ()))})
        for file, entries in listed.items()
        for entry in entries
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


def tests_of(change: Mutation, tree: Path) -> list[str]:
    """Test files that mention the module, those of the same name first; the parity tests for networks and core."""
    module = change.file.removesuffix(".py").replace("/", ".")
    package, _, name = module.rpartition(".")
    above = re.escape(f"guidelab.{package}".rstrip("."))
    mention = re.compile(
        rf"guidelab\.{re.escape(module)}\b|from {above} import [^#]*?\b{name}\b"
        + (rf"|from {above} import" if package.startswith("core.") else "")
    )
    paths = sorted((tree / "tests" / "unit").glob("test_*.py"))
    found = [p for p in paths if p.stem in change.tests or mention.search(p.read_text(encoding="utf-8"))]
    found.sort(key=lambda path: (name not in path.stem, path.stat().st_size))
    parity = (
        [tree / "tests" / "parity" / "test_parity.py"] if package.split(".")[0] in ("core", "nets") else []
    )
    return [str(path.relative_to(tree)) for path in [*found, *parity]]


def noticed(change: Mutation, tree: Path) -> bool:
    """Whether a test fails with the change; the tree is as before afterwards."""
    path = tree / "src" / "guidelab" / change.file
    original = path.read_text(encoding="utf-8")
    tests = tests_of(change, tree)
    if not tests:
        return False
    path.write_text(mutated(original, change), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    try:
        ended = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(original, encoding="utf-8")
    if ended.returncode not in (0, 1, 2):  # 2: a test file that cannot be imported any more
        raise RuntimeError(
            f"pytest ended with {ended.returncode}:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        )
    return ended.returncode != 0


def main() -> int:
    """Run the changes; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only changes of files whose path contains one of these")
    words = parser.parse_args().words
    chosen = [m for m in mutations() if not words or any(word in m.file for word in words)]
    missed: list[Mutation] = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
        for number, change in enumerate(chosen, 1):
            start = time.monotonic()
            outcome = f"equivalent ({change.equivalent})" if change.equivalent else ""
            if not outcome:
                outcome = "noticed" if noticed(change, tree) else "MISSED"
            missed += [change] if outcome == "MISSED" else []
            line = f"{number}/{len(chosen)} {change.file}: {change.old!r} -> {change.new!r}: {outcome}"
            print(f"{line} ({time.monotonic() - start:.0f} s)", flush=True)
    equivalent = sum(bool(m.equivalent) for m in chosen)
    print(f"{len(chosen) - equivalent - len(missed)} noticed, {len(missed)} missed, {equivalent} equivalent")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
