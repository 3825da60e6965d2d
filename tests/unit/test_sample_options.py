"""Options of a sampler reach its numbers: what must never happen is one that is read and ignored."""

import pytest
import torch
from sampling_jobs import DDIM, DDPM, HEUN, dit_job, job

from guidelab.assemble import load_nets
from guidelab.core.noise import SeededNoise
from guidelab.core.schedules import edm_sigmas
from guidelab.io.shards import read_block
from guidelab.jobs.sample import run
from guidelab.sampling.boosting import churn_noise
from guidelab.sampling.draw import drawing
from guidelab.sampling.pixels import Pixels, rounded, truncated

CPU = torch.device("cpu")


class Floats:
    """Samples before they become bytes."""

    finite = False

    def decode(self, x):
        return x.double()


def drawn(found, codec=None):
    return drawing(found, load_nets(found["inputs"], 0, found["discs"]), CPU, codec or Floats())


def test_noise_levels_have_the_rho_they_are_given(small_nets):
    found = drawn(job(small_nets, [], HEUN | {"rho": 3.0})).sampler.sigmas
    assert found == pytest.approx(edm_sigmas(4, 0.002, 80.0, 3.0).tolist())


def test_a_sample_starts_from_its_own_noise_at_the_highest_level(small_nets):
    seen = []
    drawn(job(small_nets, [], batch=2))(5, 6, callback=lambda step, sigma, x: seen.append(x.clone()))
    torch.testing.assert_close(seen[0], 80 * SeededNoise([5, 6]).randn((3, 8, 8)))


@pytest.mark.parametrize(("sampler", "change"), [(DDPM, {"clip": True}), (DDIM, {"eta": 0.0})])
def test_a_chain_clips_and_draws_fresh_noise_as_the_job_specifies(small_nets, sampler, change):
    one, other = (drawn(dit_job(small_nets, sampler=s))(0, 1)[0] for s in (sampler, sampler | change))
    assert float((one - other).abs().max()) > 1e-3


def test_the_noise_of_churn_differs_by_sample_and_from_its_start():
    churn = churn_noise(torch.tensor([0, 1, 2])).randn((4,))
    both = torch.cat([churn, SeededNoise([0, 1, 2]).randn((4,))])
    assert len(both.unique(dim=0)) == 6


@pytest.mark.parametrize(("how", "decode"), [("edm", rounded), ("adm", truncated)])
def test_uint8_conversion_follows_the_job(small_nets, how, decode):
    assert Pixels(job(small_nets, [], uint8=how), CPU).decode is decode


def test_every_block_is_drawn_from_its_own_seeds(small_nets, tmp_path):
    found = job(small_nets, [])
    run(found, [tmp_path / "samples.json"])
    stored, labels = read_block(tmp_path / "samples.json", 0, "b")
    wanted = drawn(found, Pixels(found, CPU))(100, 104)
    assert torch.equal(labels, wanted[1]) and int((stored.int() - wanted[0].int()).abs().max()) <= 1
