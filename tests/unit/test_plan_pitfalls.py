"""Settings of the planned experiments that would change numbers without an error message."""

import json
from pathlib import Path

import pytest

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec
from guidelab.train.precision import finite

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def payload(plan, rule, experiment, *names):
    return json.loads(plan.payload(rule, experiment, *names))


def test_adm_s_bytes_are_cut_off_and_those_a_discriminator_learns_from_are_rounded(plan):
    assert payload(plan, "sample", "imagenet256", "adm", "w1.00", "seed0")["uint8"] == "truncate"
    assert payload(plan, "generate", "imagenet256", "guide_adm")["uint8"] == "edm"


def test_a_first_stage_term_acts_fully_on_a_chain_and_half_under_heun(plan):
    chain = payload(plan, "measure", "imagenet256", "cg_dg", "w2.00", "seed0")["row"]
    heun_ = payload(plan, "measure", "cifar10", "dg_u", "w2.00", "seed0")["row"]
    assert (chain["w_effective"], heun_["w_effective"]) == (2.0, 1.0)


def test_real_images_are_not_compared_with_themselves_nor_counted_twice(plan):
    job = payload(plan, "measure", "imagenet256", "validation", "w1.00", "seed0")
    assert set(job["spaces"]) == {"adm"} and list(job["blocks"]) == ["report1"]
    assert all(metric.endswith("@adm") for metric in job["metrics"])
    assert list(payload(plan, "sample", "imagenet256", "validation", "w1.00", "seed0")["blocks"]) == [
        "report1"
    ]


def test_ema_lengths_too_short_to_be_reconstructed_are_tracked(plan):
    """From snapshots this far apart lengths below 0.04 come out as others, by more than 1 % of their profile."""
    for name in ("imagenet512", "imagenet512_curves", "imagenet64", "cifar10"):
        spec = plan.experiment(name).spec
        for model in spec.models.values():
            kept = spec.denoisers[model.denoiser].train.ema_stds
            assert model.ema_std >= 0.04 or model.ema_std in kept, (name, model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_held_out_loss_that_is_not_finite_ends_the_training(value):
    assert finite(0.5, "discriminator") == 0.5
    with pytest.raises(UserError, match="the held-out loss is"):
        finite(value, "discriminator")
