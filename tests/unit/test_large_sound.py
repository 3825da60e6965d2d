"""What would make numbers wrong without a word, at the papers' size: each mistake shows here."""

import json
from pathlib import Path

import pytest
import torch

from guidelab.cli.large.renewed import Renewed
from guidelab.core.degrade import input_noise
from guidelab.core.samplers.heun import heun
from guidelab.core.schedules import edm_sigmas
from guidelab.errors import UserError
from guidelab.plan import Plan
from guidelab.spec.load import load_spec
from guidelab.train.large.machine import finite

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def payload(plan, rule, experiment, *names):
    return json.loads(plan.payload(rule, experiment, *names))


def exact(x, sigma, cond):
    """Denoiser of data at 0.5 standard deviation."""
    variance = 0.25 / (0.25 + sigma**2)
    return variance.reshape(-1, 1) * x


def added_variance(make, n=8000):
    """Variance that a random degradation adds to samples of an exact denoiser: of two draws from one start."""
    seeds = torch.arange(n)
    start = torch.randn((n, 2), generator=torch.Generator().manual_seed(0)) * 80
    sigmas = edm_sigmas(32, 0.002, 80.0, 7.0)
    return float(
        (heun(make(seeds), start, sigmas, None) - heun(make(seeds + n), start, sigmas, None)).var() / 2
    )


def test_degradations_are_drawn_anew_at_every_step():
    """Fresh draws at every evaluation give 0.0023 (measured apart); draws shared by two evaluations nearly twice it."""
    shared = added_variance(lambda seeds: input_noise(exact, seeds, 0.1, salt=1))
    renewed = added_variance(lambda seeds: Renewed(lambda own: input_noise(exact, own, 0.1, salt=1), seeds))
    generator = torch.Generator().manual_seed(1)

    def fresh(x, sigma, cond):
        raised = sigma * 1.1
        extra = (raised**2 - sigma**2).sqrt().reshape(-1, 1)
        return exact(x + extra * torch.randn(x.shape, generator=generator), raised, cond)

    wanted = added_variance(lambda seeds: fresh)
    assert renewed == pytest.approx(wanted, rel=0.1)
    assert shared > 1.6 * wanted


def test_a_renewed_degradation_depends_on_seed_step_and_level_alone():
    def sampler(seeds):
        return Renewed(lambda own: input_noise(exact, own, 0.1, salt=1), seeds)

    x, sigma = torch.ones(2, 2), torch.full((2,), 0.5)
    here = sampler(torch.tensor([3, 4])).at_step(0.7)(x, sigma, None)
    assert torch.equal(here[:1], sampler(torch.tensor([3])).at_step(0.7)(x[:1], sigma[:1], None))
    assert not torch.equal(here, sampler(torch.tensor([3, 4])).at_step(0.5)(x, sigma, None))


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
