"""Synthetic files of every released format are read back exactly and evaluated."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from released_cases import ROOT, ROWS, S, job, made

from guidelab import registry
from guidelab.checkpoints import store
from guidelab.checkpoints.pickles import read_networks
from guidelab.checkpoints.released import read_released
from guidelab.costs.flops import count
from guidelab.errors import UserError
from guidelab.features.tiny import Tiny
from guidelab.io import load_arrays
from guidelab.jobs import convert
from guidelab.nets.edm2 import Edm2
from guidelab.released import extractor_of, load_rows
from guidelab.synthetic import checkpoints as synthetic
from guidelab.synthetic import pickles

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


def test_autoencoder_folder_and_single_file(tmp_path):
    pytest.importorskip("diffusers")
    from guidelab.autoencoder import load_autoencoder

    folder = made(tmp_path, "sd-vae-ft-mse", 16, 3, 0, side_px=4)
    given = job("sd-vae-ft-mse", tmp_path, expect={}) | {"as": "autoencoder", "expect": {}, "seeds": []}
    convert.run(given, [tmp_path / "vae.safetensors"])
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


def test_attention_of_an_old_autoencoder_is_never_read_under_another_name(tmp_path):
    at, old = "encoder.mid_block.attentions.0", ("query", "key", "value", "proj_attn")
    sizes = {
        "encoder.conv_in": (4, 3, 3, 3),
        "decoder.conv_in": (4, 4, 3, 3),
        "decoder.conv_out": (3, 4, 3, 3),
    }
    state = {f"{name}.weight": torch.zeros(size) for name, size in sizes.items()}
    state |= {f"{at}.{name}.weight": torch.full((2, 2, 1, 1), float(i)) for i, name in enumerate(old)}
    torch.save(state, tmp_path / "diffusion_pytorch_model.bin")
    config = {"_class_name": "AutoencoderKL", "latent_channels": 4, "in_channels": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_released(tmp_path, "vae")[1]
    for i, name in enumerate(("to_q", "to_k", "to_v", "to_out.0")):
        assert torch.equal(found[f"{at}.{name}.weight"], torch.full((2, 2), float(i))), name


@pytest.mark.parametrize("name", ["ref-cifar10", "ref-imagenet256-adm", "ref-imagenet512-edm2"])
def test_statistics(tmp_path, name):
    made(tmp_path, name, 8, 3, 4)
    given = job(name, tmp_path) | {"as": "statistics", "expect": {}, "seeds": []}
    convert.run(given, [tmp_path / "r.safetensors"])
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
def test_synthetic_tensor_memory_is_read_by_torch(dtype):
    tensor = torch.arange(6).to(dtype).reshape(2, 3).T
    found = torch.load(io.BytesIO(pickles.memory_of(tensor)), weights_only=True)
    assert found.dtype == dtype and torch.equal(torch.tensor([], dtype=dtype).set_(found), tensor.reshape(-1))


def test_synthetic_files_are_reproducible_and_come_pinned(tmp_path):
    first = made(tmp_path, S).read_bytes()
    held = sorted(p.name for p in tmp_path.iterdir()), (tmp_path / "pins.json").read_bytes()
    store.checked(ROWS[S], tmp_path)
    assert held == (sorted(p.name for p in tmp_path.iterdir()), (tmp_path / "pins.json").read_bytes())
    assert made(tmp_path, S).read_bytes() == first
    assert made(tmp_path, S, seed=2).read_bytes() != first
    store.checked(ROWS[S], tmp_path)
    with pytest.raises(ValueError, match="inception_pt"):
        made(tmp_path, "inception")


def test_synthetic_torch_files_have_no_pickled_objects(tmp_path):
    path = made(tmp_path, "adm-256", 8, 3, 4)
    with zipfile.ZipFile(path) as file:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())


def test_every_file_of_the_papers_experiments_has_a_size_to_plan_with():
    """Estimates, from the nets' parameters: close to what the constructors count."""
    rows = load_rows(ROOT / "workflow/resources/checkpoints.csv")
    unknown = [name for name, row in rows.items() if not row.bytes and not row.about_mb]
    assert unknown == ["adm-64-classifier"]  # read by no experiment here
    cifar = {
        "name": "edm",
        "architecture": "ddpmpp",
        "precond": "vp",
        "resolution_px": 32,
        "image_channels": 3,
    }
    net = count({**cifar, "classes": 10, "channels": 128, "channel_mult": [2, 2, 2], "blocks": 4,
                 "attention_px": [16], "augment_dim": 9})  # fmt: skip
    assert rows["edm-cifar10-32x32-cond-vp"].about_mb == pytest.approx(net.parameters * 4 / 1e6, rel=0.01)
