"""Jobs on points: data, exact densities, the numbers of a sampler, fields of figures, and what a smoke run is made of.

What must never happen: a fold that ignores its seed; data of a density that are the sampler's own starts; a grader's bounds
at another noise level or with its sides exchanged; samples lost without a count; a model
of another seed or of later training; axes or differences of a figure exchanged; test images fewer than two folds.
"""

from pathlib import Path

import pytest
import torch
from sampling_jobs import save_net, term

from guidelab.assemble import Nets
from guidelab.core.noise import SeededNoise
from guidelab.data.toy2d import fractal
from guidelab.io import load_arrays, save_arrays
from guidelab.jobs import (
    coordinates,
    density,
    field,
    plane_fields,
    prepare,
    reconstruct,
    synthesize,
)
from guidelab.jobs.point_sides import Points
from guidelab.metrics.grader import grade
from guidelab.nets.toy import ToyDenoiser

TREE = {"name": "toy2d", "classes": "A"}
HEUN = {"name": "heun", "steps": 6, "sigma_min": 0.05, "sigma_max": 5.0, "rho": 7.0, "dtype": "float32"}
WHOLE = {"dropout": 0.0, "input_noise": 0.0}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


def test_a_fold_is_drawn_from_its_own_seed(out):
    job = {"examples": "points", "dataset": TREE, "n": 8, "seed": 3, "fold": "train", "code": "c"}
    prepare.run(job, [out])
    drawn, about = load_arrays(out)
    assert torch.equal(drawn["x"], fractal("A").draw(8, torch.Generator().manual_seed(3)))
    assert (about["fold"], about["seed"], about["facts"]) == ("train", 3, {})


def test_densities_of_the_exact_denoiser_are_the_truth_at_the_lowest_level(out, monkeypatch):
    tree = fractal("A")
    monkeypatch.setattr(density, "load_nets", lambda inputs, seed: Nets({"main": tree}, {}))
    job = {
        "dataset": TREE, "variant": "none", "train_seeds": [0], "blocks": {"a": [10, 11]}, "sampler": HEUN, "main": "main",
        "terms": [], "degrade": {"main": WHOLE}, "density": {"n": 2, "steps": 32}, "inputs": {}, "code": "c",
    }  # fmt: skip
    density.run(job, [out])
    found = load_arrays(out)[0]
    data, model = ([found[f"seed0/a/{side}/log_{of}"] for of in ("p", "q")] for side in ("data", "model"))
    apart = tree.start(SeededNoise([density.DATA_SEEDS + seed for seed in (10, 11)]), 0.05).double()
    torch.testing.assert_close(data[0], tree.log_density(apart, 0.05))
    torch.testing.assert_close(data[1], data[0], atol=0.3, rtol=0)
    torch.testing.assert_close(model[1], model[0], atol=0.3, rtol=0)


def test_samples_that_are_not_finite_are_left_out_of_a_discriminators_side_and_counted(tmp_path):
    real, generated = torch.ones(3, 2), torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [2.0, 3.0]])
    save_arrays(tmp_path / "real", {"x": real}, {})
    save_arrays(tmp_path / "generated", {"seed1/generated/x": generated}, {"blocks": {"generated": [0, 2]}})
    points = Points({"inputs": {name: [str(tmp_path / name)] for name in ("real", "generated")}, "net": {}})
    sides = points.sides(1, 0)
    assert [len(side) for side in sides] == [3, 2]
    assert points.reported({"bce": 0.5, "bce_bin0": 0.4}) == {"bce": 0.5, "not_finite": 1}


@pytest.mark.parametrize("std", [0.05, 0.07])
def test_a_model_is_of_its_own_seed_and_of_nothing_after_its_length_of_training(tmp_path, out, std):
    tensors = {
        f"seed{seed}/ema{tracked:.3f}/nimg{nimg}/w": torch.full(
            (2,), seed + 1.0 if nimg <= 16 else float("nan")
        )
        for seed in (0, 1)
        for tracked in (0.05, 0.1)
        for nimg in (8, 16, 24)
    }
    about = {"seeds": [0, 1], "nimg": [8, 16, 24], "ema_stds": [0.05, 0.1], "net": {"name": "toy"}}
    save_arrays(tmp_path / "kept", tensors, about)
    job = {
        "inputs": {"checkpoints": [str(tmp_path / "kept")]},
        "nimg": 16,
        "ema_std": std,
        "model": "m",
        "code": "c",
    }
    reconstruct.run(job, [out])
    found, told = load_arrays(out)
    torch.testing.assert_close(
        found["seed0/w"], torch.full((2,), 1.0)
    )  # an average of equal values is that value
    torch.testing.assert_close(found["seed1/w"], torch.full((2,), 2.0))
    assert (told["nimg"], told["ema_std"], told["seeds"]) == (16, std, [0, 1])


class Grader(torch.nn.Module):
    """Keeps what it judges; its logit is the first coordinate."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, sigma, cond):
        self.seen.append((x, sigma))
        return x[:, 0]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A job of `measure` on four samples, three reference points and a grader."""
    tree, grader = fractal("A"), Grader()
    x, reference = (tree.draw(n, torch.Generator().manual_seed(n)).float() for n in (4, 3))
    of = {"variant": "none", "weights": [], "train_seeds": [0], "sampler": HEUN}
    source = {"variant": "none", "terms": [], "seeds": [0], "sampler": HEUN, "blocks": {"a": [0, 3]}}
    save_arrays(tmp_path / "samples", {"seed0/a/x": x}, source | {"code": "s", "nets_sha256": {}})
    save_arrays(tmp_path / "reference", {"x": reference}, {"facts": {"region_level": -1.0}})
    save_arrays(tmp_path / "grader", {"seed0/w": torch.zeros(1)}, {"reports": {"0": {}}})
    monkeypatch.setattr(coordinates, "load_net", lambda path, seed: grader)
    inputs = {name: [str(tmp_path / name)] for name in ("samples", "reference")}
    job = {
        "dataset": TREE, "of": of, "blocks": {"a": [0, 3]}, "neighbours": 1, "metrics": [], "density_defined": False, "code": "m",
        "sampler": HEUN, "inputs": inputs | {"grader:guide": [str(tmp_path / "grader")]},
    }  # fmt: skip
    return job, x, reference, grader


def test_a_grader_judges_both_sides_at_the_lowest_level_of_the_sampler(measured):
    job, x, reference, grader = measured
    found = {one.metric: one for one in coordinates.spaces(job)[0].measured(0, "a")}
    (at_data, level), (at_model, _) = grader.seen
    assert level.unique().tolist() == [pytest.approx(0.05)]
    for seen, clean in ((at_data, reference), (at_model, x)):
        assert 0.005 < (seen - clean).std() < 0.2  # noise, of about the level
    wanted = grade(logits_at_data=at_data[:, 0], logits_at_model=at_model[:, 0])
    assert {name: found[name].value.value for name in coordinates.GRADED} == {
        name: wanted[name].value for name in coordinates.GRADED
    }
    assert found["grader_js"].n_generated == 4 and found["grader_js"].n_reference == 3


def test_arrows_are_the_main_score_less_the_guides_and_axes_keep_their_place(tmp_path, out, monkeypatch):
    monkeypatch.setattr(plane_fields, "CANDIDATES", 8)
    config, nets = {"name": "toy", "width": 8, "layers": 1}, {}
    for seed, name in enumerate(("main", "weak")):
        nets[name] = ToyDenoiser(8, 1, generator=torch.Generator().manual_seed(seed))
        nets[name].gain.data.fill_(0.5)
        save_net(tmp_path / name, nets[name], config)
    run = {
        "main": "main", "degrade": {"main": WHOLE, "weak": WHOLE}, "sampler": HEUN, "batch": 8, "variant": "autog",
        "terms": [term("reference", 2.0, ref="weak")], "precision": "float32", "unlabelled": [], "labels": None,
    }  # fmt: skip
    settings = {"window": [-1.0, 1.0, 0.0, 2.0], "grid": 3, "train_seed": 0, "sigma": 0.1, "lines": 2}
    inputs = {f"model:{name}": [str(tmp_path / name)] for name in nets}
    job = {
        "figure": "fig2",
        "settings": settings,
        "dataset": TREE,
        "runs": {"autog/w2.00": run},
        "inputs": inputs,
    }
    field.run(job | {"code": "c"}, [out])
    found = load_arrays(out)[0]
    at = torch.stack([found["arrow/x"], found["arrow/y"]], dim=1)
    level = torch.full((len(at),), 0.1)
    with torch.no_grad():
        wanted = nets["main"].score(at, level) - nets["weak"].score(at, level)
    torch.testing.assert_close(torch.stack([found["arrow/u"], found["arrow/v"]], dim=1), wanted)
    corner = torch.tensor([[found["grid/x"][2], found["grid/y"][0]]])
    assert found["grid/log_p"][0, 2] == pytest.approx(float(fractal("A").log_density(corner)[0]), rel=1e-4)


@pytest.mark.parametrize(("dataset", "counts"), [("cifar10", (10, 40)), ("imagenet", (24, 2))])
def test_synthetic_folds_are_as_large_as_a_block_of_samples(tmp_path, monkeypatch, dataset, counts):
    seen = {}
    monkeypatch.setattr(
        synthesize,
        "write_cifar_like",
        lambda *_, train_per_batch, test, seed: seen.update(n=(train_per_batch, test)),
    )
    monkeypatch.setattr(
        synthesize,
        "write_imagenet_like",
        lambda folder, classes, train, val, seed: seen.update(n=(train, val)),
    )
    job = {"dataset": {"name": dataset, "classes": 5}, "pictures": 10, "seed": 0, "checkpoints": []}
    synthesize.run(job, [Path(tmp_path / "files.json")])
    assert seen["n"] == counts
