"""The list of mutations stays current: a change that cannot be made any more would pass for noticed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "guidelab"
FORMULAS = ("core", "metrics")  # rooms whose modules each hold a formula
NO_FORMULA = {
    "core/guidance/term.py",
    "metrics/fidelity.py",
    "metrics/fidelity_images.py",
    "metrics/torchvision_repair.py",
}


def _runner():
    path = ROOT / "tests" / "mutations" / "__main__.py"
    spec = importlib.util.spec_from_file_location("mutations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = _runner()


@pytest.mark.parametrize("change", RUNNER.mutations(), ids=lambda m: f"{m.file}:{m.old[:30]}")
def test_every_change_can_be_made_and_is_run_by_a_test(change):
    text = (SRC / change.file).read_text(encoding="utf-8")
    compile(RUNNER.mutated(text, change), change.file, "exec")
    assert change.equivalent or RUNNER.tests_of(change, ROOT)


def test_a_change_that_does_not_apply_is_an_error():
    with pytest.raises(ValueError, match="occurs 0 times, wanted once"):
        RUNNER.mutated("x = 1", RUNNER.Mutation("core/x.py", "y = 1", "y = 2"))


def test_every_formula_module_has_a_change():
    files = {str(path.relative_to(SRC)) for room in FORMULAS for path in (SRC / room).rglob("*.py")}
    modules = {file for file in files if not file.endswith("__init__.py")}
    listed = {change.file for change in RUNNER.mutations()}
    assert modules - listed - NO_FORMULA == set()
