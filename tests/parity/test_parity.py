"""Our implementations against values computed by the public reference ones.

Every reference file of one folder becomes one test: `$GUIDELAB_FIXTURES`, by default `data/` in the folder of this file.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from compared import Output
from families import Reference, family_of
from torch import Tensor

BUNDLED = Path(__file__).parent / "data"


def folder() -> Path:
    return Path(os.environ.get("GUIDELAB_FIXTURES") or BUNDLED)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "reference_file" in metafunc.fixturenames:
        files = sorted(folder().glob("*.safetensors"))
        # an empty folder must fail, not vanish: the one test then gets no file
        metafunc.parametrize("reference_file", files or [None], ids=lambda f: f.name if f else "no-files")


def failures(outputs: Iterable[Output], pinned: dict[str, Tensor]) -> list[str]:
    """What does not agree with the pinned values, or was not compared at all; empty when all is well."""
    left, wrong = set(pinned), []
    for output in outputs:
        left.remove(output.name)
        error, excess = output.disagreement(pinned[output.name])
        report = f"{output.name}: relative error {error:.2e}, {excess:.2f} of what is allowed"
        print(report)
        wrong += [] if excess <= 1.0 else [report]
    return wrong + [f"{name}: nothing compares this output" for name in sorted(left)]


def test_agrees_with_the_reference(reference_file: Path | None) -> None:
    if reference_file is None:
        pytest.fail(f"{folder()}: holds no *.safetensors; wanted reference files (set GUIDELAB_FIXTURES)")
    try:
        family = family_of(reference_file)
    except KeyError as error:
        pytest.fail(str(error))
    reference = Reference.load(reference_file)
    assert reference.pinned(), f"{reference_file}: pins nothing"
    found = failures(family(reference.tensors, reference.config), reference.pinned())
    assert not found, f"{reference_file.name}:\n" + "\n".join(found)


@pytest.mark.parametrize("name", ["edm2_cond", "toy2d", "posthoc_ema", "metrics"])
def test_a_wrong_reference_is_noticed(name: str) -> None:
    """The comparison can fail: each pinned output, changed a little, is reported and nothing else is."""
    path = BUNDLED / f"{name}.safetensors"
    reference = Reference.load(path)
    outputs = list(family_of(path)(reference.tensors, reference.config))
    pinned = reference.pinned()
    assert failures(outputs, pinned) == []
    for output, value in pinned.items():
        found = failures(outputs, {**pinned, output: _changed(value, 1e-4)})
        assert len(found) == 1 and found[0].startswith(f"{output}:"), (output, found)
        found = failures(outputs, {**pinned, output: torch.full_like(value, torch.nan)})
        assert len(found) == 1, (output, found)


def _changed(value: Tensor, relative: float) -> Tensor:
    """One value of middling magnitude moved by `relative` of the largest: the extremes are where rounding rules."""
    flat = value.clone().flatten()
    magnitude = flat.abs().nan_to_num(posinf=0.0)
    middle = magnitude[magnitude > 0].median()
    flat[int((magnitude - middle).abs().argmin())] += relative * magnitude.max()
    return flat.reshape(value.shape)


def test_an_output_nothing_compares_is_a_failure() -> None:
    path = BUNDLED / "posthoc_ema.safetensors"
    reference = Reference.load(path)
    reference.tensors["out/something_new"] = torch.ones(2)
    found = failures(family_of(path)(reference.tensors, reference.config), reference.pinned())
    assert found == ["out/something_new: nothing compares this output"]


def test_our_own_values_must_be_finite_and_shaped_alike() -> None:
    reference = torch.tensor([1.0, -torch.inf])
    assert Output("x", torch.tensor([1.0, -50.0]), 1e-5).disagreement(reference) == (0.0, 0.0)
    assert Output("x", reference, 1e-5).disagreement(reference)[1] == torch.inf
    with pytest.raises(ValueError, match="shape"):
        Output("x", torch.ones(3), 1e-5).disagreement(reference)


def test_a_diverging_sample_hides_no_error_of_other_samples() -> None:
    reference = torch.ones(6, 2)
    reference[0] = 1e7
    ours = reference.clone()
    assert Output("x", ours, 1e-5).disagreement(reference) == (0.0, 0.0)
    ours[3, 1] += 1e-3
    assert Output("x", ours, 1e-5).disagreement(reference)[1] > 50
    assert Output("x", ours, 1e-5, samples=None).disagreement(reference)[1] < 1
    trajectories, moved = reference.expand(4, 6, 2), ours.expand(4, 6, 2)
    assert Output("x", moved, 1e-5, samples=1).disagreement(trajectories)[1] > 50


def test_a_sample_near_zero_is_compared_with_its_neighbours() -> None:
    reference = torch.ones(5, 2)
    reference[2] = 1e-9
    ours = reference + 5e-6
    assert Output("x", ours, 1e-5).disagreement(reference)[1] < 1
