"""The cost table: what trainings and the samples they learnt from took, against calls counted while sampling."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from guidelab.assemble import dataset, load_nets
from guidelab.costs.flops import count
from guidelab.io import save_arrays
from guidelab.jobs import evaluations, theorem
from guidelab.nets.toy import ToyDenoiser
from guidelab.nets.toy_discriminator import ToyDiscriminator
from guidelab.sampling.codecs import Points
from guidelab.sampling.draw import drawing

SAMPLER = {"name": "heun", "steps": 6, "sigma_min": 0.002, "sigma_max": 5.0, "rho": 7.0, "dtype": "float32"}
BIG, SMALL = ({"name": "toy", "width": width, "layers": 1} for width in (16, 8))
DISC = {"name": "toy_discriminator", "width": 8, "layers": 1}
TRAIN = {"batch": 32, "evaluate_every": 10, "validation": 0.1, "test": 0.2}
REPORT = {"iterations": 40, "best_at": 20, "n_validation": 50, "n_test": 100, "not_finite": 10}
N = 300  # samples a discriminator learnt from


def term(method, weight, **keys):
    given = {"ref": None, "disc": None, "sigma_lo": 0.0, "sigma_hi": None, "stages": "both"}
    return {**given, "method": method, "weight": weight, **keys}


DG = term("discriminator", 1.0, disc="guide")
CFG = term("reference", 2.0, ref="blind")
TERMS = {
    "nothing": [],
    "a second net": [CFG],
    "a discriminator": [DG],
    "a discriminator in an interval": [{**DG, "sigma_lo": 0.02, "sigma_hi": 1.0}],
    "first evaluations only": [{**DG, "stages": "first"}],
    "both": [DG, CFG],
    "a neutral weight": [{**CFG, "weight": 1.0}, {**DG, "weight": 0.0}],
    "the same net": [term("truncation", 1.4)],
}


@pytest.fixture
def files(tmp_path):
    """Synthetic nets with their reports, and their paths."""
    made = {}
    for seed, (label, config) in enumerate(
        {"model:main": BIG, "model:blind": SMALL, "disc:guide": DISC}.items()
    ):
        make = ToyDiscriminator if config is DISC else ToyDenoiser
        kept = {k: v for k, v in config.items() if k != "name"}
        net = make(**kept, generator=torch.Generator().manual_seed(seed))
        meta = {"net": config, "seeds": [0], "nimg": 4096 if label == "model:main" else 512}
        meta |= {"reports": {"0": REPORT}} if config is DISC else {}
        path = tmp_path / f"{label.replace(':', '_')}.safetensors"
        save_arrays(path, {f"seed0/{name}": value for name, value in net.state_dict().items()}, meta)
        made[label] = [str(path)]
    return made


def job_of(files, folder: Path, terms, suffix="safetensors"):
    """The job of a grader of samples with these terms; the guide learnt from samples without."""
    made = dict(files)
    for label, guided, block in (
        ("generated:guide", [], "generated"),
        ("grading:cfg/w2.00/seed0", terms, "own"),
    ):
        about = {
            "kind": "samples",
            "terms": guided,
            "sampler": SAMPLER,
            "blocks": {block: [1000, 1000 + N - 1]},
        }
        path = folder / f"{block}.{suffix}"
        if suffix == "json":
            path.write_text(json.dumps({**about, "shards": []}))
        else:
            save_arrays(path, {"x": torch.zeros(1)}, about)
        made[label] = [str(path)]
    made["grader:cfg/w2.00/seed0"] = files["disc:guide"]
    return {
        "experiment": "toy", "scale": "ci", "main": "main", "inputs": made,
        "nimg": {"main": 4096, "blind": 512}, "denoisers": {"main": "s", "blind": "xs"},
        "mains": {"generated:guide": "main", "grading:cfg/w2.00/seed0": "main"},
        "drawn_as": {"generated": "generated", "grading": "own"},
        "trainings": {"generated:guide": TRAIN, "grading:cfg/w2.00/seed0": TRAIN},
    }  # fmt: skip


def table(job, folder: Path) -> pd.DataFrame:
    evaluations.run(job, [folder / "costs.csv"])
    return pd.read_csv(folder / "costs.csv").set_index("name")


def called(files, terms) -> dict[str, int]:
    """Points each net is called with while a few samples are drawn, for each of them."""
    given = {"dataset": {"name": "toy2d", "classes": "A"}, "sampler": SAMPLER, "main": "main", "terms": terms}
    given["degrade"] = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "blind")}
    given |= {"variant": "x", "batch": 5, "precision": "float32", "unlabelled": []}
    nets = load_nets(files, 0)
    found = dict.fromkeys(("main", "blind", "guide"), 0)
    for name, net in {**nets.models, **nets.discriminators}.items():

        def seen(module, arguments, name=name):
            found[name] += len(arguments[0])

        net.register_forward_pre_hook(seen)
    drawing(given, nets, torch.device("cpu"), Points(), dataset(given["dataset"]).start)(0, 4)
    return {name: total // 5 for name, total in found.items()}


@pytest.mark.parametrize("name", TERMS)
def test_every_net_that_sampling_calls_is_counted(name, files, tmp_path):
    row = table(job_of(files, tmp_path, TERMS[name]), tmp_path).loc["cfg/w2.00"]
    calls = called(files, TERMS[name])
    counted = [row[f"sampling_{which}"] for which in ("main", "reference", "discriminator")]
    assert counted == [N * calls[which] for which in ("main", "blind", "guide")]
    flop = calls["main"] * count(BIG).forward + calls["blind"] * count(SMALL).forward
    flop += calls["guide"] * count(DISC).gradient
    assert row.gflop_sampling == pytest.approx(N * flop / 1e9, rel=1e-3)
    assert count(DISC).gradient > count(DISC).forward  # guidance needs the way back


def test_shares_are_given_without_and_with_sampling(files, tmp_path):
    found = table(job_of(files, tmp_path, [DG]), tmp_path)
    main = found.loc["s"].gflop_training
    assert main == pytest.approx(4096 * count(BIG).training / 1e9, rel=1e-3)
    assert found.loc["s"].share_of_scores_training_only == found.loc["s"].share_of_scores_with_sampling == 1
    for name in ("guide", "cfg/w2.00"):
        row = found.loc[name]
        assert row.share_of_scores_training_only == pytest.approx(row.gflop_training / main, rel=1e-3)
        both = row.gflop_training + row.gflop_sampling
        assert row.share_of_scores_with_sampling == pytest.approx(both / main, rel=1e-3)
    assert (
        found.loc["cfg/w2.00"].gflop_sampling > found.loc["guide"].gflop_sampling
    )  # its samples were guided


def test_training_and_held_out_examples_of_a_discriminator_are_counted(files, tmp_path):
    row = table(job_of(files, tmp_path, []), tmp_path).loc["guide"]
    assert (row.kind, row.of, row.trained, row.samples) == ("guide", "seed0", 40 * 32, N)
    usable = N - 10  # of the samples; those that are not finite were left out
    assert row.judged == 4 * (4 * (round(0.1 * usable) + 50) + round(0.2 * usable) + 100)


def test_samples_of_images_are_counted_from_their_manifest(files, tmp_path):
    arrays = table(job_of(files, tmp_path, [DG, CFG]), tmp_path)
    manifest = table(job_of(files, tmp_path, [DG, CFG], "json"), tmp_path)
    pd.testing.assert_frame_equal(arrays, manifest)


def test_the_theorem_names_its_laws_and_its_unit(tmp_path):
    theorem.run({"weights": [1.0, 2.0]}, [tmp_path / "theorem.csv"])
    found = pd.read_csv(tmp_path / "theorem.csv")
    assert set(found["data"]) == {"N(0, 0.25)"} and set(found["model"]) == {"N(0.3, 0.36)"}
    assert set(found["unit"]) == {"nats"} and set(found["sigma_max"]) == {80}
    assert list(found["kl_ode"]) == pytest.approx([0.0, 0.194038], abs=1e-6)
