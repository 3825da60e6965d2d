"""Training of image discriminators and classifiers, and the job that runs them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from guidelab.assemble import load_net
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.errors import UserError
from guidelab.io import load_arrays
from guidelab.io.shards import Shard, folder_of, write_manifest, write_shard
from guidelab.jobs import discriminate
from guidelab.nets.small_discriminator import SmallClassifier, SmallDiscriminator
from guidelab.train import early, judge
from guidelab.train.adam import Adam, parameters_of
from guidelab.train.classifiers import train_classifier
from guidelab.train.discriminators import train_discriminator
from guidelab.train.draws import Streams
from guidelab.train.loop import TrainingSpec
from guidelab.train.noisy import Images, bin_edges, levels
from guidelab.train.precision import Precision
from guidelab.train.sides import Side, split

CONFIG: dict[str, Any] = {
    "lr": 3e-3, "batch": 64, "iterations": 120, "evaluate_every": 20, "patience": 3, "sigma_min": 0.05,
    "sigma_max": 5.0, "validation": 0.15, "test": 0.15, "seed": 0, "cached_draws": None, "weight_decay": 0.0,
}  # fmt: skip
CPU = Precision(torch.device("cpu"))
EXTRACTOR = {"resolution_px": 8, "image_channels": 1, "classes": 3, "channels": 8}


def pictures(n: int, seed: int, sharpness: float = 1.0) -> Images:
    """Three kinds of stripes on noise; generated ones are less sharp."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    ramp = torch.arange(8.0)
    waves = torch.stack([torch.cos(ramp * (k + 1)).expand(8, 8) for k in range(3)])
    x = sharpness * 0.6 * waves[labels] + 0.1 * torch.randn(n, 8, 8, generator=generator)
    return Images((127.5 * x[:, None] + 128).clip(0, 255).to(torch.uint8), labels)


def guide(**more: Any) -> SmallDiscriminator:
    return SmallDiscriminator(8, 1, channels=8, generator=torch.Generator().manual_seed(1), **more)


def side(images: Images, labels: bool = False) -> Side:
    return Side.all(images.x, images.labels if labels else None)


def trained(config: dict[str, Any], net: SmallDiscriminator, folder: Path, sharpness: float = 0.6) -> Any:
    real, generated = side(pictures(400, 1)), side(pictures(500, 2, sharpness))
    return train_discriminator(config, net, real, generated, Streams(7), folder, CPU, progress=False)


def test_parts_and_noise_levels_are_those_of_the_configuration() -> None:
    x = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(200, 1, 2, 2)
    images = Side.all(x, torch.arange(200))
    parts = split(images, CONFIG, torch.randperm(200), "real")
    assert parts.sizes == {"n_train": 140, "n_validation": 30, "n_test": 30}
    together = torch.cat([part.index for part in (parts.train, parts.validation, parts.test)])
    assert sorted(together.tolist()) == list(range(200))
    sigma = levels(20_000, CONFIG, torch.Generator().manual_seed(1)).log()
    assert float(sigma.min()) >= math.log(0.05) and float(sigma.max()) <= math.log(5.0) + 1e-6
    quarters = torch.histc(sigma, 4, math.log(0.05), math.log(5.0)) / 20_000
    assert (quarters - 0.25).abs().max() < 0.015
    edges = bin_edges(CONFIG)
    assert edges[0][0] == pytest.approx(0.05) and edges[3][1] == pytest.approx(5.0) and len(edges) == 4
    clean = {**CONFIG, "sigma_max": 0}
    assert bin_edges(clean) == []
    found = parts.test.noisy(clean, torch.Generator())
    assert torch.equal(found.x, parts.test.index[:, None, None, None].expand(30, 1, 2, 2) / 127.5 - 1)
    assert not found.sigma.any() and torch.equal(found.labels, parts.test.index)
    with pytest.raises(UserError, match="real: 40 examples"):
        split(images[torch.arange(40)], CONFIG, torch.arange(40), "real")


def test_it_separates_real_from_generated_and_estimates_the_divergence(tmp_path: Path) -> None:
    state, report, outcome = trained(CONFIG, guide(), tmp_path)
    assert report["accuracy"] > 0.65 and report["js_bound"] == pytest.approx(math.log(2) - report["bce"])
    assert report["js_bound_bin0"] > 0.2 > report["js_bound_bin3"]  # noise washes the difference out
    assert (report["n_train"], report["n_validation"], report["n_test"]) == (280, 60, 60)
    assert [row[0] for row in outcome.history] == sorted(outcome.snapshots)
    best = min(outcome.history, key=lambda row: row[2])
    assert best[0] == outcome.best_at == report["best_at"]
    assert torch.equal(state["out.weight"], outcome.snapshots[best[0]]["param/out.weight"])
    assert all(isinstance(value, int | float) for value in report.values())


def test_equal_sides_stop_early_and_show_no_divergence(tmp_path: Path) -> None:
    config = {**CONFIG, "iterations": 600}
    _, report, outcome = trained(config, guide(), tmp_path, sharpness=1.0)
    assert report["iterations"] < 600 and abs(report["js_bound"]) < 0.02
    assert report["iterations"] - report["best_at"] == 60
    assert len(outcome.history) == report["iterations"] // 20


def test_stopped_anywhere_it_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**CONFIG, "iterations": 60}
    whole = trained(config, guide(), tmp_path / "whole")
    calls = 0
    step = Adam.step

    def interrupted(self: Adam, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 31:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Adam, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(config, guide(), tmp_path / "cut")
    monkeypatch.undo()
    again = trained(config, guide(), tmp_path / "cut")
    assert again[1] == whole[1] and again[2].history == whole[2].history
    assert all(torch.equal(again[0][name], value) for name, value in whole[0].items())


def test_frozen_features_stay_and_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = guide(extractor=EXTRACTOR)
    before = {name: value.clone() for name, value in net.extractor.state_dict().items()}
    looked = []
    look = judge.Judge.look
    monkeypatch.setattr(
        judge.Judge, "look", lambda of, images: looked.append(len(images.sigma)) or look(of, images)
    )
    state, report, outcome = trained({**CONFIG, "cached_draws": 2}, net, tmp_path)
    assert looked == [240, 300, 512, 48, 512, 188, 240, 300]  # validation, cache, test: nothing in between
    assert all(torch.equal(state[f"extractor.{name}"], value) for name, value in before.items())
    assert not any("extractor" in name for name in outcome.snapshots[20])
    assert report["bce"] < math.log(2)
    with pytest.raises(UserError, match="cached_draws is 2"):
        trained({**CONFIG, "cached_draws": 2}, guide(), tmp_path / "scratch")


def test_adam_is_torchs_and_leaves_snapshots_alone() -> None:
    def net() -> torch.nn.Linear:
        made = torch.nn.Linear(3, 1)
        with torch.no_grad():
            made.weight.fill_(0.5), made.bias.fill_(-0.1)
        return made

    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))

    def loss(of: torch.nn.Module) -> Tensor:
        value: Tensor = (of(x) - 1).square().mean()
        return value

    plain, ours = net(), Adam(net(), 0.01, 0.1)
    optimiser = torch.optim.Adam(plain.parameters(), lr=0.01, weight_decay=0.1)
    state = ours.initial()
    snapshot = parameters_of(state)
    for i in range(6):
        if i == 3:  # as after a resume: the same numbers in other tensors
            state = {name: value.clone() for name, value in state.items()}
        optimiser.zero_grad()
        loss(plain).backward()
        optimiser.step()
        state, _ = ours.step(state, lambda: loss(ours.net))
    assert torch.equal(state["param/weight"], plain.weight) and float(state["steps"]) == 6
    loaded = ours.load(snapshot)
    assert torch.equal(loaded.weight, torch.full((1, 3), 0.5)) and torch.equal(
        state["param/weight"], plain.weight
    )


def test_early_stop_refuses_a_course_it_cannot_evaluate(tmp_path: Path) -> None:
    adam = Adam(torch.nn.Linear(1, 1), 0.1)
    course = TrainingSpec({}, adam.initial, lambda s, i: (s, torch.zeros(1)), parameters_of, 10, 5, 2, "odd")
    with pytest.raises(ValueError, match="odd: log_every 2"):
        early.run_until_no_better(course, tmp_path, lambda snapshot: 0.0, 2, progress=False)
    course = TrainingSpec({}, adam.initial, lambda s, i: (s, torch.zeros(1)), parameters_of, 10, 5, 5, "odd")
    with pytest.raises(ValueError, match="not finite"):
        early.run_until_no_better(course, tmp_path, lambda snapshot: math.nan, 2, progress=False)


@pytest.mark.parametrize("sigma_max", [0, 5.0])
def test_classifiers_learn_clean_and_noisy_images(sigma_max: float, tmp_path: Path) -> None:
    net = SmallClassifier(**EXTRACTOR, generator=torch.Generator().manual_seed(2))
    config = {**CONFIG, "sigma_max": sigma_max}
    state, report, history = train_classifier(
        config, net, side(pictures(500, 3), True), tmp_path, CPU, progress=False
    )
    assert report["accuracy_bin0" if sigma_max else "accuracy"] > 0.95
    if sigma_max:
        assert report["accuracy_bin3"] < report["accuracy_bin0"]
    assert report["n_test"] == 75 and history[0][2] > history[-1][2]
    assert torch.equal(state["out.bias"], net.state_dict()["out.bias"])


# ---- the job -------------------------------------------------------------------------------------------------


def zipped(path: Path, images: Images, labels: bool = True) -> str:
    names = tuple(f"{i:05d}.png" for i in range(len(images)))
    write_zip(path, ImageSet(images.x, images.labels if labels else None, names))
    return str(path)


def manifest(path: Path, seeds: tuple[int, ...] = (0, 3)) -> str:
    about = {"variant": "none", "seeds": list(seeds), "blocks": {"generated": [0, 299]}}
    shards = [Shard(seed, "generated", 0, 299) for seed in seeds]
    for shard in shards:
        found = pictures(300, 10 + shard.train_seed, 0.6)
        write_shard(folder_of(path), shard, about, lambda a, b, found=found: (found.x, found.labels))
    write_manifest(path, shards, about)
    return str(path)


def job(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "disc": "d",
        "examples": "images",
        "role": "guide",
        "net": {"name": "small_discriminator", "channels": 8, "conditional": True},
        "train": {**CONFIG, "iterations": 40},
        "train_seeds": [0, 3],
        "classes": 3,
        "inputs": {"real": [zipped(tmp_path / "real.zip", pictures(300, 4))]},
        "code": "c",
    } | more


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize("role", ["classifier", "features"])
def test_the_job_of_a_classifier_makes_a_net_that_can_be_loaded(role: str, tmp_path: Path) -> None:
    net = {"name": "small_classifier", "channels": 8}
    config = {**CONFIG, "iterations": 40, "sigma_max": 0.0 if role == "features" else 5.0, "seed": 5}
    made = job(tmp_path, role=role, net=net, train=config, train_seeds=[5])
    out = tmp_path / "out.safetensors"
    discriminate.run(made, [out])
    _, meta = load_arrays(out)
    assert meta["net"] == {**net, "resolution_px": 8, "image_channels": 1, "classes": 3}
    assert meta["kind"] == "discriminator" and meta["iterations"] == [20, 40] and meta["seeds"] == [5]
    assert meta["reports"]["5"]["n_train"] == 210 and len(meta["history"]["5"]) == 2
    loaded = load_net(out, 5)
    images = pictures(4, 8)
    assert loaded(images.clean(), torch.zeros(4), None).shape == (4, 3)
    assert not any((tmp_path / "state").glob("*"))


def test_the_job_of_a_guide_keeps_every_seed_and_snapshot(tmp_path: Path) -> None:
    classifier = tmp_path / "noisy.safetensors"
    net = {"name": "small_classifier", "channels": 8}
    discriminate.run(job(tmp_path, role="classifier", net=net, train_seeds=[0]), [classifier])
    made = job(tmp_path)
    made["inputs"] |= {"generated": [manifest(tmp_path / "generated.json")], "extractor": [str(classifier)]}
    out = tmp_path / "guide.safetensors"
    discriminate.run(made, [out])
    tensors, meta = load_arrays(out)
    assert meta["net"]["extractor"] == {**net, "resolution_px": 8, "image_channels": 1, "classes": 3}
    assert (
        meta["net"]["classes"] == 3 and meta["iterations"] == [20, 40] and set(meta["reports"]) == {"0", "3"}
    )
    weights, _ = load_arrays(classifier)
    for seed in (0, 3):
        loaded = load_net(out, seed)
        for name, value in loaded.extractor.state_dict().items():
            assert torch.equal(value, weights[f"seed0/{name}"])
        snapshot = {
            k.removeprefix(f"it20/seed{seed}/"): v for k, v in tensors.items() if f"it20/seed{seed}/" in k
        }
        loaded.load_state_dict(snapshot)
        images = pictures(4, 8)
        assert loaded(images.clean(), torch.full((4,), 0.1), images.labels).shape == (4,)
    assert not torch.equal(tensors["seed0/out.weight"], tensors["seed3/out.weight"])
    again = tmp_path / "again.safetensors"
    discriminate.run(made, [again])
    assert again.read_bytes() == out.read_bytes()


def test_the_job_names_what_does_not_fit(tmp_path: Path) -> None:
    made = job(tmp_path)
    made["inputs"]["generated"] = [manifest(tmp_path / "generated.json")]
    out = [tmp_path / "out.safetensors"]
    with pytest.raises(UserError, match=r"real\.zip: has a label 2, wanted 0 to 1"):
        discriminate.run(made | {"classes": 2}, out)
    bare = zipped(tmp_path / "bare.zip", pictures(300, 4), labels=False)
    with pytest.raises(UserError, match=r"bare\.zip: has no labels"):
        discriminate.run(made | {"inputs": made["inputs"] | {"real": [bare]}}, out)
    wide = Images(torch.zeros(300, 1, 16, 16, dtype=torch.uint8), torch.zeros(300, dtype=torch.int64))
    other = zipped(tmp_path / "wide.zip", wide)
    with pytest.raises(UserError, match="wanted the same channels and side"):
        discriminate.run(made | {"inputs": made["inputs"] | {"real": [other]}}, out)
    with pytest.raises(UserError, match="small_discriminator"):
        discriminate.run(made | {"net": made["net"] | {"attention_px": [4]}}, out)
    guide_file = tmp_path / "guide.safetensors"
    discriminate.run(made, [guide_file])
    with pytest.raises(UserError, match="holds no classifier"):
        discriminate.run(made | {"inputs": made["inputs"] | {"extractor": [str(guide_file)]}}, out)


def test_the_null_parts_one_fold_and_refuses_a_small_one(tmp_path: Path) -> None:
    """It learns nothing, its parts are as large as the job says, and its file holds the last net alone."""
    out = tmp_path / "null.safetensors"
    made = job(tmp_path, role="grade", train_seeds=[0], apart=120)
    discriminate.run(made, [out])
    tensors, meta = load_arrays(out)
    assert meta["reports"]["0"]["n_train"] == 126 and abs(meta["reports"]["0"]["js_bound"]) < 0.1
    assert all(name.startswith("seed0/") for name in tensors) and load_net(out, 0).classes == 3
    with pytest.raises(UserError, match=r"real\.zip: holds 300 images, wanted at least 302"):
        discriminate.run(made | {"apart": 151}, [out])
