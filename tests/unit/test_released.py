"""Released files: read back exactly, checked against what an experiment takes them for, pinned, imported, listed."""

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from guidelab import registry
from guidelab.assemble import load_net
from guidelab.checkpoints import store
from guidelab.checkpoints.pickles import read_networks
from guidelab.checkpoints.released import read_released
from guidelab.cli.large import obtain
from guidelab.cli.released import import_file, list_released, released_commands
from guidelab.errors import UserError
from guidelab.features.tiny import Tiny
from guidelab.io import load_arrays
from guidelab.nets.edm2 import Edm2
from guidelab.released import extractor_of, load_rows
from guidelab.synthetic import checkpoints as synthetic
from guidelab.synthetic import pickles
from guidelab.synthetic.checkpoints import write_synthetic

ROOT = Path(__file__).parents[2]
ROWS = load_rows(ROOT / "workflow/resources/checkpoints.csv")
S = "edm2-img512-s-2147483-0.130"
NETS = {  # row -> resolution, channels, classes
    "edm-cifar10-32x32-cond-vp": (8, 3, 4), "edm-cifar10-32x32-uncond-ve": (16, 3, 0),
    "edm-imagenet-64x64-cond-adm": (8, 3, 4), "baseline-imagenet-64x64-cond-adm": (8, 3, 4),
    S: (8, 4, 4), "edm2-img512-xs-uncond-2147483-0.025": (8, 4, 0), "edm2-img64-s-1073741-0.045": (8, 3, 4),
    "adm-256": (16, 3, 4), "adm-256-uncond": (8, 3, 0), "adm-256-classifier": (16, 3, 4),
    "DiT-XL-2-256x256": (4, 4, 4), "dg-cifar10-extractor": (16, 3, 4), "dg-cifar10-uncond": (16, 3, 0),
    "dg-cifar10-cond": (16, 3, 4), "dg-imagenet256-extractor": (4, 4, 4), "dg-imagenet256": (4, 4, 4),
}  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def made(folder, name, resolution_px=8, image_channels=4, classes=4, **kwargs):
    kwargs = {"seed": 1, **kwargs}
    return write_synthetic(
        ROWS[name],
        folder,
        resolution_px=resolution_px,
        image_channels=image_channels,
        classes=classes,
        **kwargs,
    )


def job(name=S, folder=None, **changes):
    expect = {"name": "edm2", "resolution_px": 8, "image_channels": 4, "classes": 4}
    base = {
        "checkpoint": ROWS[name].as_job(),
        "folder": str(folder),
        "as": "model",
        "seeds": [0],
        "code": "c",
    }
    return {**base, "expect": expect | changes.pop("expect", {}), "inputs": {}, **changes}


@pytest.mark.parametrize("name", NETS)
def test_every_format_becomes_a_net_that_runs(tmp_path, name):
    side, channels, classes = NETS[name]
    path = made(tmp_path, name, *NETS[name])
    below = extractor_of(ROWS[name], ROWS.values())
    hints = {"extractor": made(tmp_path, below.name, side, channels, 4)} if below else {}
    config, tensors = read_released(path, ROWS[name].format, hints)
    assert [config[k] for k in ("resolution_px", "image_channels", "classes")] == [side, channels, classes]
    assert json.loads(json.dumps(config)) == config, "kept as JSON"
    arguments = dict(config)
    net = registry.load("net", arguments.pop("name"))(**arguments).eval()
    net.load_state_dict({key: value.float() for key, value in tensors.items()})
    cond = torch.tensor([0, 1]) if classes else None
    out = net(torch.randn(2, channels, side, side), torch.tensor([0.5, 2.0]), cond)
    assert len(out) == 2 and out.isfinite().all() and out.abs().max() > 0


def test_edm2_weights_are_bit_equal_and_configured_by_the_file(tmp_path):
    net = Edm2(8, 3, 4, 16, [1, 2], 1, [4], head_channels=16, generator=torch.Generator().manual_seed(3))
    state = {name: tensor.half() for name, tensor in net.state_dict().items()}
    kwargs = {
        "img_resolution": 8, "img_channels": 3, "label_dim": 4, "model_channels": 16, "channel_mult": [1, 2],
        "num_blocks": 1, "attn_resolutions": (4,), "channels_per_head": 16, "use_fp16": True, "sigma_data": 0.5,
    }  # fmt: skip
    parts = {"unet": "UNet", "unet.enc": "ModuleDict", "unet.dec": "ModuleDict"}
    buffers = {name for name, _ in net.named_buffers()}
    ema = pickles.network(state, buffers, "Precond", kwargs, parts)
    ema.state["_modules"]["unet"].state["_buffers"]["forgotten"] = torch.zeros(2)
    ema.state["_modules"]["unet"].state["_non_persistent_buffers_set"].add("forgotten")
    ema.state["_modules"]["unet"].state["_buffers"]["nothing"] = None
    pickles.write(
        tmp_path / "a.pkl", pickles.Easy(ema=ema, scalar=np.float64(1), arrays=np.ones((2, 3), order="F"))
    )
    found = read_networks(tmp_path / "a.pkl")["ema"]
    assert found.class_name == "Precond" and found.init_kwargs["attn_resolutions"] == [4]
    config, tensors = read_released(tmp_path / "a.pkl", "edm2_pickle")
    assert set(tensors) == set(state) and all(torch.equal(tensors[k], state[k]) for k in state)
    same = Edm2(**{k: v for k, v in config.items() if k != "name"})
    same.load_state_dict(tensors)
    net.load_state_dict(state)
    x, sigma = torch.randn(1, 3, 8, 8), torch.tensor([1.0])
    assert torch.equal(same.eval()(x, sigma), net.eval()(x, sigma))


@pytest.mark.parametrize(
    "setting", [{"res_balance": 0.5}, {"img_resolution": None}, {"model_channels": "x"}, {"odd": 1}]
)
def test_edm2_settings_our_net_does_not_have(setting):
    from guidelab.checkpoints.from_edm2 import convert

    kwargs = {"img_resolution": 8, "img_channels": 3, "model_channels": 16, "channel_mult": [1], **setting}
    with pytest.raises(UserError, match=r"EDM2 weights|Is it the file of another network"):
        convert({}, {k: v for k, v in kwargs.items() if v is not None})


def test_obtained_file_is_what_load_net_reads(tmp_path):
    made(tmp_path, S)
    obtain.run(job(folder=tmp_path, seeds=[0, 3]), [tmp_path / "s.safetensors"])
    nets = [load_net(tmp_path / "s.safetensors", seed) for seed in (0, 3)]
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(*(net(x, torch.ones(1), torch.tensor([1])) for net in nets))
    meta = load_arrays(tmp_path / "s.safetensors")[1]
    assert meta["kind"] == "model" and meta["seeds"] == [0, 3]
    assert meta["released"]["licence"] == "CC BY-NC-SA 4.0" and len(meta["released"]["sha256"]) == 64
    assert (
        json.loads((tmp_path / "pins.json").read_text())[f"{S}.pkl"]["sha256"] == meta["released"]["sha256"]
    )


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ({"classes": 10}, "is of 4 classes, wanted 10; it was trained on other data"),
        ({"resolution_px": 64}, "holds 8 px, wanted 64 px"),
        ({"image_channels": 3}, "holds 4 channels, wanted 3 channels"),
        ({"name": "dit"}, "holds a net of the kind 'edm2', wanted a net of the kind 'dit'"),
    ],
)
def test_a_file_of_something_else_is_refused_before_anything_is_written(tmp_path, expect, says):
    made(tmp_path, S)
    with pytest.raises(UserError, match=says) as error:
        obtain.run(job(folder=tmp_path, expect=expect), [tmp_path / "s.safetensors"])
    assert f"{S}.pkl" in str(error.value) and "checkpoints.csv" in str(error.value)
    assert not (tmp_path / "s.safetensors").exists()


def test_wrong_architecture_in_the_place_of_a_file(tmp_path):
    made(tmp_path, "DiT-XL-2-256x256", 4)
    shutil.copy(tmp_path / "DiT-XL-2-256x256.pt", tmp_path / "256x256_diffusion.pt")
    with pytest.raises(UserError, match=r"256x256_diffusion\.pt: .*time_embed"):
        obtain.run(job("adm-256", tmp_path), [tmp_path / "a.safetensors"])
    shutil.copy(tmp_path / "DiT-XL-2-256x256.pt", tmp_path / f"{S}.pkl")
    with pytest.raises(UserError, match=rf"{S}\.pkl"):
        obtain.run(job(S, tmp_path), [tmp_path / "a.safetensors"])


def test_discriminators_know_whether_they_are_told_a_class(tmp_path):
    made(tmp_path, "dg-cifar10-extractor", 16, 3, 4)
    made(tmp_path, "dg-cifar10-cond", 16, 3, 4)
    below = ROWS["dg-cifar10-extractor"].as_job()
    shape = {"name": "adm_discriminator", "resolution_px": 16, "image_channels": 3, "classes": None}
    given = job("dg-cifar10-cond", tmp_path, extractor=below, expect=shape | {"told": True})
    obtain.run(given | {"as": "discriminator"}, [tmp_path / "d.safetensors"])
    net = load_net(tmp_path / "d.safetensors", 0)
    assert net(torch.randn(2, 3, 16, 16), torch.ones(2), torch.tensor([0, 1])).shape == (2,)
    assert "extractor_sha256" in load_arrays(tmp_path / "d.safetensors")[1]["released"]
    given["expect"]["told"] = False
    with pytest.raises(UserError, match="is told one of 4 classes, wanted one that is not"):
        obtain.run(given | {"as": "discriminator"}, [tmp_path / "d.safetensors"])
    with pytest.raises(UserError, match="give the classifier it stands on"):
        obtain.run(given | {"extractor": None}, [tmp_path / "d.safetensors"])


def test_discriminators_of_two_releases_do_not_mix(tmp_path):
    """Both releases call their extractor 32x32_classifier.pt."""
    made(tmp_path, "dg-imagenet256-extractor", 8, 4, 4)
    made(tmp_path, "dg-cifar10-cond", 32, 3, 4)
    given = job("dg-cifar10-cond", tmp_path, extractor=ROWS["dg-imagenet256-extractor"].as_job())
    with pytest.raises(UserError, match=r"discriminator_250\.pt"):
        obtain.run(given | {"as": "discriminator"}, [tmp_path / "d.safetensors"])


def test_a_missing_file_says_which_from_where_and_into_which_folder(tmp_path):
    with pytest.raises(UserError) as error:
        obtain.run(job(folder=tmp_path / "here"), [tmp_path / "a.safetensors"])
    assert f"fetch {S}.pkl from https://nvlabs-fi-cdn.nvidia.com/edm2/" in str(error.value)
    assert str(tmp_path / "here" / f"{S}.pkl") in str(error.value)


def test_a_replaced_file_is_noticed(tmp_path):
    path = made(tmp_path, S)
    found, digest = store.checked(ROWS[S], tmp_path)
    assert found == path and store.checked(ROWS[S], tmp_path)[1] == digest
    net = path.read_bytes()
    path.write_bytes(net + b" ")
    with pytest.raises(UserError, match="when it was first used"):
        store.locate(ROWS[S], tmp_path)
    path.write_bytes(net)
    assert store.locate(ROWS[S].as_job(), str(tmp_path)) == path
    with pytest.raises(UserError, match="published is 000000000000"):
        store.checked(replace(ROWS[S], sha256="0" * 64), tmp_path)
    with pytest.raises(UserError, match="published are 7"):
        store.checked(replace(ROWS[S], bytes=7), tmp_path)
    (tmp_path / "pins.json").write_text("[")
    with pytest.raises(UserError, match=r"pins\.json: cannot be read"):
        store.locate(ROWS[S], tmp_path)


def test_autoencoder_folder_and_single_file(tmp_path):
    pytest.importorskip("diffusers")
    from guidelab.autoencoder import load_autoencoder

    folder = made(tmp_path, "sd-vae-ft-mse", 16, 3, 0, side_px=4)
    given = job("sd-vae-ft-mse", tmp_path, expect={}) | {"as": "autoencoder", "expect": {}, "seeds": []}
    obtain.run(given, [tmp_path / "vae.safetensors"])
    net = load_autoencoder(tmp_path / "vae.safetensors")
    assert net.decode(torch.randn(1, 4, 4, 4), "ldm").shape == (1, 3, 16, 16)
    config, tensors = read_released(folder, "vae")
    assert config["latent_channels"] == 4 and not any(key.startswith("_") for key in config)
    old = {}
    for name, tensor in tensors.items():  # as the released files have them
        for now, then in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{now}.", f".{then}.")
        old[name] = tensor[:, :, None, None] if ".query." in name and tensor.ndim == 2 else tensor
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(old, folder / "diffusion_pytorch_model.bin")
    again = read_released(folder / "diffusion_pytorch_model.bin", "vae")[1]
    assert set(again) == set(tensors) and all(torch.equal(again[k], tensors[k]) for k in tensors)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"its config\.json is absent"):
        read_released(folder, "vae")


@pytest.mark.parametrize("name", ["ref-cifar10", "ref-imagenet256-adm", "ref-imagenet512-edm2"])
def test_statistics(tmp_path, name):
    made(tmp_path, name, 8, 3, 4)
    given = job(name, tmp_path) | {"as": "statistics", "expect": {}, "seeds": []}
    obtain.run(given, [tmp_path / "r.safetensors"])
    tensors, meta = load_arrays(tmp_path / "r.safetensors")
    assert meta["kind"] == "statistics" and meta["released"]["name"] == name
    features = Tiny()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert tensors["mean"].shape == features.features.shape[1:] and tensors["cov"].dtype == torch.float64
    if name.endswith("adm"):
        assert tensors["mean_spatial"].shape == features.spatial.shape[1:]
        assert meta["images"] == [synthetic.REFERENCE_IMAGES, 8, 8, 3]
    if name.endswith("edm2"):
        assert tensors["mean_dinov2"].shape == tensors["mean"].shape


def test_statistics_of_adm_as_numpy_reads_them(tmp_path):
    path = made(tmp_path, "ref-imagenet256-adm", 8, 3, 4)
    tensors = read_released(path, "reference_npz")[1]
    with np.load(path) as file:
        for ours, theirs in (("mean", "mu"), ("cov_spatial", "sigma_s")):
            np.testing.assert_allclose(tensors[ours], file[theirs], rtol=1e-12, atol=1e-15)
        assert file["arr_0"].dtype == np.uint8


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16, torch.int64])
def test_made_up_memory_is_what_torch_reads(dtype):
    tensor = torch.arange(6).to(dtype).reshape(2, 3).T
    found = torch.load(io.BytesIO(pickles.memory_of(tensor)), weights_only=True)
    assert found.dtype == dtype and torch.equal(torch.tensor([], dtype=dtype).set_(found), tensor.reshape(-1))


def test_made_up_files_repeat_and_forget_pins(tmp_path):
    first = made(tmp_path, S).read_bytes()
    store.checked(ROWS[S], tmp_path)
    assert made(tmp_path, S).read_bytes() == first and not (tmp_path / "pins.json").exists()
    assert made(tmp_path, S, seed=2).read_bytes() != first
    with pytest.raises(ValueError, match="inception_pt"):
        made(tmp_path, "inception")


def test_import_writes_weights_and_what_they_are(tmp_path, monkeypatch):
    made(tmp_path, S)
    target, about = import_file(S, tmp_path / "s.safetensors", folder=str(tmp_path))
    assert load_net(target, 0).classes == 4
    told = json.loads((tmp_path / "s.json").read_text())
    assert told == json.loads(json.dumps(about)) and told["config"]["name"] == "edm2"
    assert told["released"]["url"].startswith("https://") and told["parameters"] > 1000
    by_path, _ = import_file(str(tmp_path / f"{S}.pkl"), tmp_path / "t.safetensors")
    assert load_arrays(by_path)[1]["released"]["name"] == S
    own = shutil.copy(tmp_path / f"{S}.pkl", tmp_path / "mine.pkl")
    with pytest.raises(UserError, match="--format"):
        import_file(str(own), tmp_path / "m.safetensors")
    assert import_file(str(own), tmp_path / "m.safetensors", format="edm2_pickle")[0].exists()
    with pytest.raises(UserError, match="is the file itself"):
        import_file(str(own), Path(own), format="edm2_pickle")
    with pytest.raises(UserError, match=f"did you mean '{S}'"):
        import_file("edm2-img512-s-2147483-0.13", tmp_path / "m.safetensors")


def test_import_of_two_files_of_one_name(tmp_path):
    made(tmp_path, "dg-cifar10-extractor", 16, 3, 4)
    path = tmp_path / "dg-cifar10/32x32_classifier.pt"
    assert import_file(str(path), tmp_path / "a.safetensors")[1]["released"]["name"] == "dg-cifar10-extractor"
    shutil.copy(path, tmp_path / path.name)
    with pytest.raises(UserError, match="may be dg-cifar10-extractor or dg-imagenet256-extractor"):
        import_file(str(tmp_path / path.name), tmp_path / "a.safetensors")


def test_commands(tmp_path):
    made(tmp_path, S)
    folder = ["--folder", str(tmp_path)]
    run = CliRunner().invoke
    shown = run(released_commands, ["released", S, "adm-256", *folder])
    assert (
        shown.exit_code == 0
        and "not used yet" in shown.output
        and "absent: https://openaipublic" in shown.output
    )
    lacking = run(released_commands, ["released", "--absent", S, "adm-256", *folder])
    assert "fetch 256x256_diffusion.pt from" in lacking.output and f"{S}:" not in lacking.output
    done = run(released_commands, ["import", S, "-o", str(tmp_path / "s.safetensors"), *folder])
    assert done.exit_code == 0 and "edm2" in done.output, done.output
    assert [s.there for s in list_released([S], str(tmp_path))] == [True]
    assert isinstance(run(released_commands, ["released", "nothing-like-it", *folder]).exception, UserError)
    for command in ("import", "released", "bundle", "unbundle"):
        assert "Example" in run(released_commands, [command, "--help"]).output


def test_the_list_of_published_files():
    assert len({row.file for row in ROWS.values()}) == len(ROWS), "no two rows share a file"
    for row in ROWS.values():
        assert row.url.startswith("https://") and row.licence, row.name
        assert not row.sha256 and not row.bytes, "known only from the publisher, never guessed"
        assert (row.kind == "discriminator") == (extractor_of(row, ROWS.values()) is not None)
        if row.kind == "net" and row.format == "edm2_pickle":
            assert row.classes == (0 if "uncond" in row.name else 1000)
    for name in (
        S,
        "edm-cifar10-32x32-cond-vp",
        "adm-256",
        "adm-256-classifier",
        "DiT-XL-2-256x256",
        "sd-vae-ft-mse",
    ):
        assert "not verified" not in ROWS[name].note


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("name,kind\na,net\n", "has columns"),
        ("{h}\n{r}\n{r}\n", "stands there twice"),
        ("{h}\na,nett,adm_pt,a.pt,,,,,,,,,\n", "did you mean 'net'"),
        ("{h}\na,net,adm_pt,../a.pt,,,,,,,,,\n", "path inside the folder"),
        ("{h}\na,net,adm_pt,a.pt,,12x,,,,,,,\n", "whole numbers"),
        ("{h}\na,net,adm_pt,a.pt,,,abc,,,,,,\n", "64 hexadecimal"),
    ],
)
def test_lists_that_cannot_be(tmp_path, change, says):
    head, first = (ROOT / "workflow/resources/checkpoints.csv").read_text().splitlines()[:2]
    (tmp_path / "c.csv").write_text(change.format(h=head, r=first))
    with pytest.raises(UserError, match=says):
        load_rows(tmp_path / "c.csv")


def test_made_up_torch_files_have_no_pickled_objects(tmp_path):
    path = made(tmp_path, "adm-256", 8, 3, 4)
    with zipfile.ZipFile(path) as file:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())
