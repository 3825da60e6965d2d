"""A pretrained file agrees with the experiment in every key, and is pinned after this check."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from released_cases import ROOT, ROWS, S, job, made

from guidelab.autoencoder import build
from guidelab.checkpoints import store
from guidelab.checkpoints.released import read_released
from guidelab.checkpoints.structure import differences
from guidelab.cli.importing import import_file
from guidelab.errors import UserError
from guidelab.features import dinov2, inception, tiny
from guidelab.features.spatial import spatial_features
from guidelab.jobs import convert, extract
from guidelab.nets.edm2_sizes import CHANNELS
from guidelab.plan.build.expected import WIDTHS
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

ADM, DIT, CIFAR = "adm-256", "DiT-XL-2-256x256", "edm-cifar10-32x32-cond-vp"
# content of the synthetic files, in the form of params.yaml
NETS = {
    S: {"channels": 16, "channel_mult": [1.0, 2.0], "blocks": 1, "attention_px": [4], "patch_px": 1, "lean": False},
    CIFAR: {"architecture": "ddpmpp", "precond": "edm", "channels": 16, "channel_mult": [1, 2], "blocks": 1,
            "attention_px": [4], "augment_dim": 9},
    ADM: {"channels": 32, "channel_mult": [1, 2], "blocks": 1, "attention_px": [8], "head_channels": 64,
          "schedule": "linear"},
    DIT: {"width": 384, "depth": 1, "heads": 6, "patch_px": 2},
    "adm-256-classifier": {"channels": 32, "channel_mult": [1, 2], "blocks": 1, "attention_px": [8],
                           "schedule": "discrete"},
}  # fmt: skip
SIDES = {S: (8, 4, 4), CIFAR: (8, 3, 4), ADM: (16, 3, 4), DIT: (8, 4, 4), "adm-256-classifier": (16, 3, 4)}
OTHER = [
    (S, {"channels": 32}), (S, {"blocks": 2}), (S, {"channel_mult": [1.0, 2.0, 3.0]}), (S, {"attention_px": [8]}),
    (S, {"lean": True}), (S, {"patch_px": 2}), (CIFAR, {"architecture": "ncsnpp"}), (CIFAR, {"precond": "vp"}),
    (CIFAR, {"channels": 64}), (CIFAR, {"augment_dim": 0}), (ADM, {"schedule": "cosine"}), (ADM, {"head_channels": 32}),
    (ADM, {"blocks": 2}), (ADM, {"attention_px": [16, 8]}), (DIT, {"depth": 28}), (DIT, {"width": 1152}),
    (DIT, {"heads": 12}), (DIT, {"patch_px": 4}), ("adm-256-classifier", {"schedule": "linear"}),
    ("adm-256-classifier", {"channel_mult": [1, 2, 4]}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def described(name, folder, **changes):
    """The job of a synthetic file, described in every key; some of them wrongly."""
    row, (side, channels, classes) = ROWS[name], SIDES[name]
    kind = {"edm2_pickle": "edm2", "edm_pickle": "edm", "adm_pt": "adm", "dit_pt": "dit"}.get(
        row.format, "adm_classifier"
    )
    expect = {
        "name": kind, "resolution_px": side, "image_channels": channels, "classes": classes,
        "net": NETS[name] | changes, "entry": "here.models.m.checkpoint", "net_entry": "here.denoisers.d.net",
    }  # fmt: skip
    return job(name, folder, expect=expect) | {"as": "classifier" if kind == "adm_classifier" else "model"}


@pytest.mark.parametrize("name", NETS)
def test_a_file_that_is_the_net_described_is_taken_and_pinned(tmp_path, name):
    made(tmp_path, name, *SIDES[name])
    (tmp_path / "pins.json").unlink()
    convert.run(described(name, tmp_path), [tmp_path / "m.safetensors"])
    assert (tmp_path / "m.safetensors").exists() and ROWS[name].file in store.pins(tmp_path)


@pytest.mark.parametrize(("name", "wrong"), OTHER)
def test_another_architecture_of_the_same_kind_is_refused_with_the_key(tmp_path, name, wrong):
    ((key, value),) = wrong.items()
    path = made(tmp_path, name, *SIDES[name])
    (tmp_path / "pins.json").unlink()
    with pytest.raises(UserError) as error:
        convert.run(described(name, tmp_path, **wrong), [tmp_path / "m.safetensors"])
    said = str(error.value)
    assert said.startswith(str(path)) and f"{key} " in said and "here.denoisers.d.net" in said
    assert str(value) in said or key == "attention_px"
    assert not (tmp_path / "m.safetensors").exists() and not store.pins(tmp_path)


def test_sizes_by_name_and_levels_left_open_are_compared_too():
    config = {"name": "edm2", "resolution_px": 64, "image_channels": 4, "classes": 1000, "channels": 192,
              "attention_px": [16, 8], "dropout": 0.0}  # fmt: skip
    told = {"size": "S", "blocks": 3, "attention_px": (16, 8), "patch_px": 1, "lean": False}
    assert not differences(config, told)
    assert differences(config, {**told, "size": "XS"}) == [("channels", 192, CHANNELS["XS"])]
    assert [key for key, *_ in differences({**config, "channel_mult": [1, 2]}, told)] == ["channel_mult"]
    assert [key for key, *_ in differences({**config, "blocks": 2}, told)] == ["blocks"]


@pytest.mark.parametrize("name", ["imagenet512", "imagenet64", "imagenet256", "cifar10"])
def test_every_released_net_is_described(plan, name):
    """What a plan expects of a file has every key of the net that is no matter of training."""
    experiment = plan.experiment(name)
    for kind, entry in experiment.planned("obtain"):
        expect = plan.job("obtain", name, kind, entry).spec["expect"]
        assert expect["entry"].startswith(f"{name}."), expect
        if kind == "models":
            net = experiment.spec.denoisers[experiment.spec.models[entry].denoiser].net
            given = {k for k, v in net.model_dump().items() if v is not None} - {"name", "dropout"}
            assert set(expect["net"]) == given and expect["net_entry"].endswith(".net")
    fold = next(f for f in experiment.spec.folds if hasattr(experiment.spec.folds[f], "checkpoint"))
    met = plan.job("obtain", name, "references", fold).spec["expect"]["features"]
    assert met["inception"]["width"] == 2048 and (name != "imagenet512" or met["dinov2"]["width"] == 1024)
    assert met["inception"].get("spatial") == (2023 if name == "imagenet256" else None)


def test_widths_are_those_of_the_extractors():
    assert WIDTHS["tiny"] == tuple(
        t.shape[1]
        for t in (lambda e: (e.features, e.spatial))(tiny.Tiny()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)))
    )
    assert WIDTHS["dinov2"][0] == dinov2.SIZES["vitl14"][0]
    told = inception.Inception.__doc__
    assert all(f"[B, {width}]" in told for width in WIDTHS["inception"])
    assert spatial_features(torch.zeros(1, 768, 17, 17)).shape[1] == WIDTHS["inception"][1]


def statistics(name, folder, features):
    expect = {"features": features, "entry": "here.folds.f"}
    return job(name, folder) | {"as": "statistics", "expect": expect, "seeds": []}


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({"inception": {"extractor": "inception", "width": 2048}}, "statistics of 32 features, wanted 2048"),
        (
            {"inception": {"extractor": "tiny", "width": 32, "spatial": 2023}},
            "28 spatial features, wanted 2023",
        ),
    ],
)
def test_statistics_of_other_features_are_refused(tmp_path, features, says):
    path = made(tmp_path, "ref-imagenet256-adm", 8, 3, 4)
    with pytest.raises(UserError, match=says) as error:
        convert.run(statistics("ref-imagenet256-adm", tmp_path, features), [tmp_path / "r.safetensors"])
    assert str(error.value).startswith(str(path)) and "here.folds.f" in str(error.value)
    assert "(features.inception)" in str(error.value) and not (tmp_path / "r.safetensors").exists()


def test_statistics_of_two_families_and_of_none_for_sfid(tmp_path):
    tiny_ = {"extractor": "tiny", "width": 32}
    made(tmp_path, "ref-imagenet512-edm2", 8, 3, 4)
    both = {"inception": tiny_, "dinov2": tiny_}
    convert.run(statistics("ref-imagenet512-edm2", tmp_path, both), [tmp_path / "r.safetensors"])
    with pytest.raises(UserError, match=r"wanted 1024: those of the extractor dinov2 \(features.dinov2\)"):
        both = {"inception": tiny_, "dinov2": {"extractor": "dinov2", "width": 1024}}
        convert.run(statistics("ref-imagenet512-edm2", tmp_path, both), [tmp_path / "r.safetensors"])
    made(tmp_path, "ref-cifar10", 8, 3, 4)
    with pytest.raises(UserError, match="statistics of no spatial features, wanted 28"):
        sfid = {"inception": {**tiny_, "spatial": 28}}
        convert.run(statistics("ref-cifar10", tmp_path, sfid), [tmp_path / "r.safetensors"])


def test_an_autoencoder_of_other_latents_is_refused(tmp_path):
    pytest.importorskip("diffusers")
    assert build  # the package is there
    path = made(tmp_path, "sd-vae-ft-mse", 16, 3, 0, side_px=4)
    good = {"latent_channels": 4, "factor": 4.0, "entry": "here.dataset.latent"}
    given = job("sd-vae-ft-mse", tmp_path) | {"as": "autoencoder", "seeds": []}
    convert.run(given | {"expect": good}, [tmp_path / "v.safetensors"])
    for wrong, says in (
        ({"latent_channels": 16}, "of 4 channels of latents, wanted 16"),
        ({"factor": 8.0}, "of 4 pixels to a side of a latent, wanted 8"),
    ):
        with pytest.raises(UserError, match=says) as error:
            convert.run(given | {"expect": good | wrong}, [tmp_path / "w.safetensors"])
        assert str(error.value).startswith(str(path)) and "here.dataset.latent" in str(error.value)


def autoencoder_of_another_size(path):
    made(path.parent, path.name, 16, 3, 0, side_px=4)


FOREIGN = {
    "inception": (lambda path: torch.save({"a": torch.zeros(3)}, path), "wanted the released file"),
    "dinov2-vitl14": (lambda path: torch.save({"a": torch.zeros(3)}, path), "holds no DINOv2 weights"),
    "ref-cifar10": (lambda path: np.savez(path, mu=np.zeros(4), sigma=np.eye(4)), "of 4 features, wanted 2048"),
    "ref-imagenet64-edm2": (
        lambda path: path.write_bytes(pickle.dumps({"fid": {"mu": np.zeros(2048), "sigma": np.eye(2048)}})),
        "of 2048 features, wanted 1024",
    ),
    "ref-imagenet256-adm": (
        lambda path: np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048), mu_s=np.zeros(7), sigma_s=np.eye(7)),
        "of 7 spatial features, wanted 2023",
    ),
    "sd-vae-ft-mse": (autoencoder_of_another_size, "of 4 pixels to a side of a latent, wanted 8"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_import_never_pins_another_file_under_the_name_of_a_row(tmp_path, name):
    make, says = FOREIGN[name]
    make(tmp_path / Path(ROWS[name].file).name)
    (tmp_path / "pins.json").unlink(missing_ok=True)
    with pytest.raises(
        UserError, match=rf"is not {name} of .*{says}.*[^.]\. It was saved under a wrong name"
    ):
        import_file(str(tmp_path / Path(ROWS[name].file).name), tmp_path / "out.safetensors")
    assert not store.pins(tmp_path) and not (tmp_path / "out.safetensors").exists()


def test_a_refused_file_is_not_pinned_and_its_corrected_copy_is_accepted(tmp_path):
    path = made(tmp_path, S)
    (tmp_path / "pins.json").unlink()
    whole = path.read_bytes()
    for wrong in (whole[: len(whole) // 2], b"<html>not found</html>"):
        path.write_bytes(wrong)
        for attempt in (
            lambda: convert.run(job(folder=tmp_path), [tmp_path / "s.safetensors"]),
            lambda: import_file(S, tmp_path / "i.safetensors", folder=str(tmp_path)),
        ):
            with pytest.raises(UserError, match=S):
                attempt()
        assert not store.pins(tmp_path)
    path.write_bytes(whole)
    convert.run(job(folder=tmp_path), [tmp_path / "s.safetensors"])
    assert store.pins(tmp_path)[path.name]["name"] == S


def test_a_file_of_another_kind_is_refused_with_the_wanted_kind_and_its_address(tmp_path):
    shutil.move(made(tmp_path, S), tmp_path / "DiT-XL-2-256x256.pt")
    with pytest.raises(UserError) as error:
        convert.run(described(DIT, tmp_path), [tmp_path / "m.safetensors"])
    said = str(error.value)
    assert said.startswith(str(tmp_path / "DiT-XL-2-256x256.pt"))
    assert (
        "here.models.m.checkpoint of params.yaml takes it for DiT-XL-2-256x256, read as dit_pt: fetch" in said
    )
    assert f"from {ROWS[DIT].url}" in said


def test_weights_of_an_extractor_that_were_refused_are_not_pinned(tmp_path):
    row = ROWS["inception"]
    (tmp_path / row.file).write_bytes(b"<html>not found</html>")
    given = {"name": "inception", "checkpoint": row.as_job(), "folder": str(tmp_path)}
    spec = {"features": "inception", "extractor": given, "inputs": {"images": ("a.zip",)}, "code": "c"}
    with pytest.raises(UserError):
        extract.run(spec, [tmp_path / "f.safetensors"])
    assert not store.pins(tmp_path)


def test_one_file_under_two_names_is_refused(tmp_path, monkeypatch):
    path, other = made(tmp_path, S), "edm2-img512-s-2147483-0.190"
    copy = shutil.copy(path, tmp_path / f"{other}.pkl")
    with pytest.raises(UserError) as error:
        convert.run(job(other, tmp_path), [tmp_path / "s.safetensors"])
    said = str(error.value)
    assert said.startswith(str(copy)) and f"is the same file as {path}" in said and f"pinned as {S}" in said
    assert f"fetch {other}.pkl (about 560 MB) from https://" in said and "pins.json" in said
    assert list(store.pins(tmp_path)) == [path.name]
    one = {**ROWS, other: ROWS[other].__class__(**{**ROWS[other].as_job(), "url": ROWS[S].url})}
    monkeypatch.setattr(store, "load_rows", lambda: one)
    convert.run(job(other, tmp_path, checkpoint=one[other].as_job()), [tmp_path / "s.safetensors"])
    assert len(store.pins(tmp_path)) == 2, "two names of one address are one file"


def test_a_pin_of_a_removed_file_blocks_nothing(tmp_path):
    other = "edm2-img512-s-2147483-0.190"
    shutil.move(made(tmp_path, S), tmp_path / f"{other}.pkl")
    convert.run(job(other, tmp_path), [tmp_path / "s.safetensors"])
    assert read_released(tmp_path / f"{other}.pkl", "edm2_pickle")[0]["classes"] == 4
