"""Who is reported and who is fitted on, from files: folds, blocks and quarters never meet; truths have their direction."""

import functools
import json
import operator

import numpy as np
import pytest
import torch
from torch import nn

from guidelab.assemble import Nets
from guidelab.data.image_zip import ImageSet, write_zip
from guidelab.errors import UserError
from guidelab.io import save_arrays, sha256
from guidelab.jobs import subjects

BLOCKS = {"report1": [0, 29], "report2": [30, 59], "select": [60, 79]}


class Value(nn.Module):
    classes = 0

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x, sigma, cond=None):
        return torch.full_like(x, self.value)


@pytest.mark.parametrize("event", [(2,), (1, 1, 1)])
def test_guidance_of_first_evaluations_counts_half_as_in_the_flow(event):
    term = {"method": "reference", "ref": "weak", "disc": None, "weight": 2.0, "sigma_lo": 0.0, "sigma_hi": None,
            "stages": "first"}  # fmt: skip
    spec = {"main": "main", "terms": [term], "sampler": {"dtype": "float32"}}
    spec["degrade"] = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "weak")}
    _, guided = subjects.denoisers(spec, Nets({"main": Value(1.0), "weak": Value(0.0)}, {}))
    found = guided(torch.zeros(2, *event), torch.tensor([0.1, 1.0]), None)
    assert found.flatten().unique().tolist() == [1.5]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Points numbered by where they come from: real 0 to 99, samples 1000 x block + place."""
    monkeypatch.setattr(subjects, "load_net", lambda path, seed, device: ("grader", path, seed))
    monkeypatch.setattr(subjects, "load_nets", lambda inputs, seed, discs: Nets({}, {}))
    monkeypatch.setattr(subjects, "denoisers", lambda job, nets: ("main", "guided"))
    monkeypatch.setattr(subjects, "density", lambda spec: None)
    real, samples, density = (str(tmp_path / f"{n}.safetensors") for n in ("real", "samples", "density"))
    save_arrays(real, {"x": _numbered(0, 100)}, {})
    tensors = {
        f"seed3/{name}/x": _numbered(1000 * (i + 1), b - a + 1)
        for i, (name, (a, b)) in enumerate(BLOCKS.items())
    }
    tensors["seed3/report2/x"][5] = float("nan")
    save_arrays(samples, tensors, {"terms": [], "variant": "none"})
    logs = {}
    rng = np.random.default_rng(0)
    for name in BLOCKS:  # p = N(0, 1) and q = N(0, 4): KL(p||q) = .318, KL(q||p) = .807
        for side, scale in (("data", 1.0), ("model", 2.0)):
            x = torch.from_numpy(scale * rng.normal(size=4000))
            logs[f"seed3/{name}/{side}/log_p"] = -(x**2) / 2
            logs[f"seed3/{name}/{side}/log_q"] = -(x**2) / 8 - np.log(2)
    save_arrays(density, logs, {})
    return {
        "dataset": {"name": "toy2d"}, "sampler": {"sigma_min": 0.002}, "point": "none/w1.00", "variant": "none", "terms": [], "blocks": BLOCKS,
        "report": ["report1", "report2"], "calibrate": "select",
        "inputs": {"real": [real], "samples": [samples], "density": [density], "grader": ["g"]},
    }  # fmt: skip


def _numbered(first: int, n: int) -> torch.Tensor:
    return torch.arange(first, first + n, dtype=torch.float32)[:, None].expand(n, 2).contiguous()


def ids(x) -> list[int]:
    return [int(v) for v in getattr(x, "clean", x)[:, 0].tolist()]


def test_a_sampler_is_fitted_on_its_own_block_and_part_of_the_fold(job):
    found = subjects.sampler(job, 3)
    assert ids(found.fitted[1]) == list(range(3000, 3020))
    assert ids(found.report[1]) == [*range(1000, 1030), *(i for i in range(2000, 2030) if i != 2005)]
    assert len(found.fitted[0]) == 20 and len(found.report[0]) == 80
    assert set(ids(found.fitted[0])).isdisjoint(ids(found.report[0]))
    assert found.grader == ("grader", "g", 3) and not found.guided and not found.exact.zero
    assert (found.main, found.sampler) == ("main", "guided")


def test_exact_divergences_have_their_direction(job):
    found = subjects.sampler(job, 3).exact.truth
    assert found["kl"].value == pytest.approx(np.log(2) - 0.375, abs=4 * found["kl"].std_error)
    assert found["kl_reverse"].value == pytest.approx(1.5 - np.log(2), abs=4 * found["kl_reverse"].std_error)
    assert found["kl_reverse"].value - found["kl"].value > 0.3


def test_samples_of_another_sampler_are_refused(job):
    with pytest.raises(UserError, match="another sampler than cfg/w2"):
        subjects.sampler({**job, "point": "cfg/w2.00", "terms": [{"weight": 2.0}]}, 3)


def test_the_null_reports_two_quarters_and_fits_on_two_others(job):
    found = subjects.null(job)
    parts = [ids(x) for x in (*found.report, *found.fitted)]
    assert [len(p) for p in parts] == [25] * 4
    assert sorted(functools.reduce(operator.iadd, parts, [])) == list(range(100))
    assert found.exact.zero and not found.guided
    assert {v.value for v in found.exact.truth.values()} == {0.0}


# ---- images --------------------------------------------------------------------------------------------------------


@pytest.fixture
def image_job(tmp_path, monkeypatch):
    """Images of one gray level each: real 0 to 119, samples 130 and up by block."""
    monkeypatch.setattr(subjects, "load_net", lambda path, seed, device: ("grader", path, seed))
    monkeypatch.setattr(subjects, "load_nets", lambda inputs, seed, *more: Nets({}, {}))
    monkeypatch.setattr(subjects, "denoisers", lambda job, nets: ("main", "guided"))
    real, samples = tmp_path / "real.zip", tmp_path / "samples.json"
    write_zip(real, ImageSet(_gray(0, 120), None, tuple(map(str, range(120)))))
    shards = []
    for i, (name, first) in enumerate((("report1", 130), ("report2", 150), ("select", 170))):
        path = tmp_path / "samples" / f"{i}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_arrays(path, {"images": _gray(first, 10)}, {})
        shards.append(
            {
                "file": path.name,
                "sha256": sha256(path),
                "train_seed": 0,
                "block": name,
                "first": 10 * i,
                "last": 10 * i + 9,
                "n": 10,
            }
        )
    samples.write_text(json.dumps({"kind": "samples", "terms": [], "variant": "none", "shards": shards}))
    features, reference = (str(tmp_path / f"{n}.safetensors") for n in ("features", "reference"))
    blocks = ("report1", "report2", "select")
    arrays = {f"seed0/{b}/features": _numbered(100 * i, 10) for i, b in enumerate(blocks)}
    save_arrays(features, arrays, {"features_sha256": "f00d"})
    save_arrays(reference, {"features": _numbered(0, 120)}, {"features_sha256": "f00d"})
    return {
        "dataset": {"name": "fashion_mnist"}, "discs": {},
        "point": "none/w1.00", "variant": "none", "terms": [], "spaces": ["lite0"], "estimate": {"seed": 1},
        "blocks": {name: [0, 9] for name in blocks}, "report": ["report1", "report2"], "calibrate": "select",
        "train_seeds": [0],
        "inputs": {"real": [str(real)], "samples": [str(samples)], "grader": ["g"],
                   "features:lite0": [features], "reference:lite0": [reference]},
    }  # fmt: skip


def _gray(first: int, n: int) -> torch.Tensor:
    levels = torch.arange(first, first + n, dtype=torch.uint8)
    return levels[:, None, None, None].expand(n, 1, 4, 4).contiguous()


def levels(images) -> list[int]:
    return ((images.clean[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_a_sampler_of_images_is_fitted_on_its_own_block_and_part_of_the_fold(image_job):
    found = subjects.sampler(image_job, 0)
    assert levels(found.report[1]) == [*range(130, 140), *range(150, 160)]
    assert levels(found.fitted[1]) == list(range(170, 180))
    assert len(found.fitted[0]) == 10 and len(found.report[0]) == 110
    assert set(levels(found.fitted[0])).isdisjoint(levels(found.report[0]))
    space = found.spaces["lite0"]
    assert ids(space.report) == [*range(10), *range(100, 110)] and ids(space.more) == list(range(200, 210))
    assert space.sha256 == "f00d"


def test_the_null_of_images_reports_and_fits_on_parts_that_never_meet(image_job):
    found = subjects.null(image_job)
    parts = [levels(x) for x in (*found.report, *found.fitted)]
    assert [len(p) for p in parts] == [80, 20, 10, 10]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == list(range(120))
    space = found.spaces["lite0"]
    assert ids(space.report) == parts[1] and ids(space.more) == parts[3]
    assert sorted(ids(space.real)) == sorted(parts[0] + parts[2])


def test_features_of_another_net_are_refused(image_job, tmp_path):
    save_arrays(
        tmp_path / "reference.safetensors", {"features": _numbered(0, 120)}, {"features_sha256": "beef"}
    )
    with pytest.raises(UserError, match="of other features than"):
        subjects.sampler(image_job, 0)
