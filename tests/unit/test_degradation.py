"""Degraded nets: their masks and noises belong to (sample seed, step, noise level), in images as in points.

What must never happen: the second evaluation of a step and the first of the next one with equal masks; an evaluation
that differs from another one of equal key; a sample that depends on its batch; main and guide with equal masks.
"""

import pytest
import torch
from sampling_jobs import CFG, DEGRADED, job, randomised, save_net, write_nets

from guidelab.assemble import Nets, assemble, load_nets
from guidelab.core.degrade import dropout, input_noise
from guidelab.core.denoiser import at_step
from guidelab.core.guidance.interval import Interval
from guidelab.core.guidance.reference import Reference
from guidelab.core.samplers.heun import heun
from guidelab.core.schedules import edm_sigmas
from guidelab.data.toy2d import fractal
from guidelab.io import load_arrays
from guidelab.jobs.sample import run
from guidelab.nets.toy import ToyDenoiser
from guidelab.sampling.codecs import Points
from guidelab.sampling.draw import drawing

CPU = torch.device("cpu")
HEUN = {"name": "heun", "steps": 6, "sigma_min": 0.002, "sigma_max": 5.0, "rho": 7.0, "dtype": "float32"}


class Masks(torch.nn.Module):
    """A denoiser that keeps the masks it is called with, by noise level."""

    classes = 0

    def __init__(self, layers=2):
        super().__init__()
        self.dropout, self.layers, self.seen = None, layers, []

    def forward(self, x, sigma, cond):
        masks = [self.dropout(layer, sigma, tuple(x.shape)) for layer in range(self.layers)]
        self.seen.append((float(sigma[0]), torch.stack(masks)))
        return exact(x * masks[0], sigma, cond)


def exact(x, sigma, cond):
    """Denoiser of data at 0.5 standard deviation."""
    variance = 0.25 / (0.25 + sigma**2)
    return variance.reshape(-1, 1) * x


def noise(seeds):
    return input_noise(exact, seeds, 0.1, salt=1)


def evaluations(predict, net, n=4):
    """(noise level, masks) of every evaluation of a run of Heun's sampler, in order."""
    heun(
        predict,
        torch.randn(n, 8, generator=torch.Generator().manual_seed(0)) * 80,
        edm_sigmas(5, 0.002, 80.0, 7.0),
        None,
    )
    return net.seen


def test_the_second_evaluation_of_a_step_and_the_first_of_the_next_have_different_masks():
    net = Masks()
    seen = evaluations(dropout(net, torch.arange(4), 0.5, salt=1), net)
    assert len(seen) == 9
    for second, first in zip(seen[1::2], seen[2::2], strict=True):
        assert second[0] == first[0]  # one noise level, two steps
        assert not torch.equal(second[1], first[1])
    flat = [masks.flatten() for _, masks in seen]
    assert len({tuple(masks.tolist()) for masks in flat}) == len(flat)
    assert not torch.equal(seen[0][1][0], seen[0][1][1])  # nor have two layers


def test_evaluations_of_one_key_agree_and_a_row_depends_on_its_own_seed():
    x, sigma = torch.ones(2, 8), torch.full((2,), 0.5)
    for make in (noise, lambda seeds: dropout(Masks(), seeds, 0.5, salt=1)):
        here = make(torch.tensor([3, 4])).at_step(0.7)
        found = here(x, sigma, None)
        assert torch.equal(found, here(x, sigma, None))
        assert torch.equal(found, here.at_step(0.7)(x, sigma, None))  # resolving twice is resolving once
        alone = make(torch.tensor([3])).at_step(0.7)
        assert torch.equal(found[:1], alone(x[:1], sigma[:1], None))
        for other in (make(torch.tensor([3, 4])).at_step(0.5), make(torch.tensor([3, 4]))):
            assert not torch.equal(found, other(x, sigma, None))


def test_every_wrapper_hands_the_step_on():
    """A reference inside an interval, and dropout below input noise, are resolved with the step."""
    x, sigma, seeds = torch.ones(4, 8), torch.full((4,), 0.5), torch.arange(4)

    def deltas(step):
        masked = dropout(Masks(), seeds, 0.5, salt=2)
        term = Interval(Reference(masked, 2.0), 0.0, 100.0).at_step(step)
        both = at_step(input_noise(masked, seeds, 0.1, salt=2), step)
        return term.delta(x, sigma, None, x), both(x, sigma, None)

    for one, other in zip(deltas(0.7), deltas(0.5), strict=True):
        assert not torch.equal(one, other)


def test_main_and_guide_draw_independent_masks_at_every_step():
    main, guide = Masks(), Masks()
    term = {
        "method": "reference",
        "ref": "guide",
        "weight": 2.0,
        "sigma_lo": 0.0,
        "sigma_hi": None,
        "stages": "both",
    }
    spec = {
        "main": "main", "terms": [term], "sampler": HEUN,
        "degrade": {name: {"dropout": 0.5, "input_noise": 0.0} for name in ("main", "guide")},
    }  # fmt: skip
    predict = assemble(spec, Nets({"main": main, "guide": guide}, {}), torch.arange(64)).predict
    pairs = zip(evaluations(predict, main, 64), guide.seen, strict=True)
    sides = [torch.stack([ours.flatten(), theirs.flatten()]) for (_, ours), (_, theirs) in pairs]
    assert len(sides) == 9
    largest = max(float(torch.corrcoef(side)[0, 1].abs()) for side in sides)
    assert largest < 0.15  # 1,024 pairs: 4.8 standard errors


def added_variance(make, n=8000):
    """Variance that a random degradation adds to samples of an exact denoiser: of two draws from one start."""
    seeds = torch.arange(n)
    start = torch.randn((n, 2), generator=torch.Generator().manual_seed(0)) * 80
    sigmas = edm_sigmas(32, 0.002, 80.0, 7.0)
    return float(
        (heun(make(seeds), start, sigmas, None) - heun(make(seeds + n), start, sigmas, None)).var() / 2
    )


def test_the_variance_of_samples_is_that_of_fresh_noise_at_every_evaluation():
    """Noise that two evaluations share gives nearly twice as much."""
    generator = torch.Generator().manual_seed(1)

    def fresh(x, sigma, cond):
        raised = sigma * 1.1
        extra = (raised**2 - sigma**2).sqrt().reshape(-1, 1)
        return exact(x + extra * torch.randn(x.shape, generator=generator), raised, cond)

    def shared(seeds):
        keyed = noise(seeds)
        return lambda x, sigma, cond: keyed(x, sigma, cond)  # the step is not handed on

    wanted = added_variance(lambda seeds: fresh)
    assert added_variance(noise) == pytest.approx(wanted, rel=0.1)
    assert added_variance(shared) > 1.6 * wanted


# ---- through the jobs -----------------------------------------------------------------------------------------


def toy_job(folder, dropped, batch=3):
    save_net(
        folder / "toy.safetensors",
        randomised(ToyDenoiser(16, 2), 0, 0.5),
        {"name": "toy", "width": 16, "layers": 2},
    )
    return {
        "variant": "x", "main": "toy", "terms": [], "degrade": {"toy": dropped}, "sampler": HEUN, "codec": "points",
        "dataset": {"name": "toy2d", "classes": "A"}, "inputs": {"model:toy": [str(folder / "toy.safetensors")]},
        "train_seeds": [0], "blocks": {"a": [0, 9], "b": [100, 104]}, "code": "c", "batch": batch,
        "precision": "float32", "unlabelled": [], "grader_blocks": {"judge": {"seeds": [200, 202], "train_seeds": [0]}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "dropped",
    [
        {"dropout": 0.0, "input_noise": 0.0},
        {"dropout": 0.2, "input_noise": 0.0},
        {"dropout": 0.1, "input_noise": 0.2},
    ],
    ids=["none", "dropout", "both"],
)
def test_points_depend_on_their_seeds_alone(tmp_path, dropped):
    """For any batch size: a file of points equals points drawn one after the other."""
    found = toy_job(tmp_path, dropped)
    run(found, [tmp_path / "points.safetensors"])
    tensors, about = load_arrays(tmp_path / "points.safetensors")
    assert {name: len(x) for name, x in tensors.items()} == {
        "seed0/a/x": 10,
        "seed0/b/x": 5,
        "seed0/judge/x": 3,
    }
    assert about["blocks"] == {"a": [0, 9], "b": [100, 104], "judge": [200, 202]}
    nets = load_nets(found["inputs"], 0)
    sampler = drawing(found | {"batch": 1}, nets, CPU, Points(), fractal("A").start)
    alone = torch.cat([sampler(seed, seed)[0] for seed in range(10)])
    torch.testing.assert_close(tensors["seed0/a/x"], alone, rtol=1e-4, atol=1e-5)
    assert len(alone.unique(dim=0)) == 10


def test_masks_change_samples_of_points_and_images(tmp_path):
    plain, dropped = ({"dropout": p, "input_noise": 0.0} for p in (0.0, 0.2))
    for number, how in enumerate((plain, dropped)):
        run(toy_job(tmp_path, how), [tmp_path / f"{number}.safetensors"])
    a, b = (load_arrays(tmp_path / f"{n}.safetensors")[0]["seed0/a/x"] for n in (0, 1))
    assert not torch.equal(a, b)
    write_nets(tmp_path)
    jobs = [job(tmp_path, CFG), job(tmp_path, CFG, degrade=DEGRADED)]
    images = [drawing(j, load_nets(j["inputs"], 0), CPU, Points())(0, 3)[0] for j in jobs]
    assert not torch.equal(*images)
