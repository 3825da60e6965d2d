"""Write checkpoints in the released formats with small random nets, for smoke experiments.

They are structurally what is published, so reading them exercises the same code; their numbers mean nothing.
"""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from guidelab.checkpoints.store import pin_anew
from guidelab.io import atomic_write
from guidelab.nets.adm import Adm
from guidelab.nets.dit import Dit
from guidelab.nets.edm import SONG, Edm
from guidelab.nets.edm2 import Edm2
from guidelab.nets.edm_layers import filter_of
from guidelab.nets.image_discriminator import AdmClassifier, AdmDiscriminator
from guidelab.released import Row
from guidelab.synthetic.pickles import Easy, Thing, network, write

FEATURES, SPATIAL = 32, 28  # of the extractor `tiny`, which smoke experiments measure with
REFERENCE_IMAGES = 16
_WIDTH = 32  # ADM normalises in 32 groups
_BOTTOM_PX = 8  # side of the smallest maps of every released ADM network


def write_synthetic(
    row: Row,
    folder: str | Path,
    *,
    resolution_px: int,
    image_channels: int,
    classes: int,
    seed: int,
    side_px: int | None = None,
) -> Path:
    """Write the file of one row and pin it, so that the folder stays as it is when the file is used.

    Args:
        row: of checkpoints.csv; its format, kind and name decide what is written, its file where.
        folder: of published files; made if it is not there.
        resolution_px, image_channels, classes: of what the net sees; classes 0 for an unconditional net.
        seed: of the weights.
        side_px: of an autoencoder's latents (an eighth of the resolution when None).
    Returns:
        The file, or the autoencoder's folder.
    Raises:
        ValueError: a format that has no synthetic files (features of smoke experiments come from `tiny`).
    """
    make = _WRITERS.get(row.format)
    if make is None:
        raise ValueError(
            f"write_synthetic: {row.name} of format {row.format}; wanted one of {', '.join(_WRITERS)}"
        )
    path = Path(folder) / row.file
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {"resolution_px": resolution_px, "image_channels": image_channels, "classes": classes}
    if row.format == "vae":
        sizes["side_px"] = side_px or resolution_px // 8
    make(path, row, sizes, torch.Generator().manual_seed(seed))
    pin_anew(Path(folder), row)
    return path


def _edm(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    architecture = "adm" if row.name.endswith("adm") else "ncsnpp" if row.name.endswith("-ve") else "ddpmpp"
    precond = "iddpm" if row.name.startswith("baseline") else "edm"
    side, augment_dim = sizes["resolution_px"], 9 if row.dataset == "cifar10" else 0  # as published
    small: dict[str, Any] = {"channels": 16, "channel_mult": [1, 2], "blocks": 1, "attention_px": [side // 2]}
    small["augment_dim"] = augment_dim
    net = _drawn(
        Edm(**sizes, **small, architecture=architecture, precond=precond, generator=generator), generator
    )
    kwargs: dict[str, Any] = {
        **_shared(sizes),
        "use_fp16": False,
        "model_type": "DhariwalUNet" if architecture == "adm" else "SongUNet",
        "model_channels": 16,
        "channel_mult": [1, 2],
        "num_blocks": 1,
        "attn_resolutions": [side // 2],
        "dropout": 0.1,
    }
    if architecture != "adm":
        style = SONG[architecture]
        kwargs |= {"embedding_type": style["embedding"], "encoder_type": style["encoder"]}
        kwargs |= {"decoder_type": style["decoder"], "channel_mult_noise": style["noise_mult"]}
        kwargs |= {"resample_filter": list(style["resample_filter"]), "augment_dim": augment_dim}
    names = {f"unet.{tail}": f"model.{tail}" for tail in net.unet.state_dict()} | {"precond.u": "u"}
    state = {names[name]: tensor for name, tensor in net.state_dict().items()}
    buffers = {names[name] for name, _ in net.named_buffers() if name in names}
    taps = filter_of(torch.tensor(kwargs.get("resample_filter", [1, 1]), dtype=torch.float32))
    for name, _ in net.named_buffers():
        if name.endswith(".resample.taps"):  # made anew by ours, kept by the released classes
            kept = "model." + name.removeprefix("unet.").replace(".resample.taps", ".resample_filter")
            state[kept] = taps
            buffers.add(kept)
    parts = {"model": kwargs["model_type"], "model.enc": "ModuleDict", "model.dec": "ModuleDict"}
    ema = network(state, buffers, "iDDPMPrecond" if precond == "iddpm" else "EDMPrecond", kwargs, parts)
    dataset = Easy(class_name="training.dataset.ImageFolderDataset", path="datasets/synthetic.zip")
    loss = Thing("EDMLoss", {"P_mean": -1.2, "P_std": 1.2, "sigma_data": 0.5})
    write(path, {"ema": ema, "loss_fn": loss, "augment_pipe": None, "dataset_kwargs": dict(dataset)})


def _edm2(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    side = sizes["resolution_px"]
    small: dict[str, Any] = {"channels": 16, "channel_mult": [1, 2], "blocks": 1, "attention_px": [side // 2]}
    net = _drawn(Edm2(**sizes, **small, head_channels=16, generator=generator), generator)
    kwargs = {
        **_shared(sizes),
        "use_fp16": True,
        "model_channels": 16,
        "channel_mult": [1, 2],
        "num_blocks": 1,
        "attn_resolutions": [side // 2],
        "channels_per_head": 16,
        "dropout": 0.0,
    }
    state = {name: tensor.to(torch.float16) for name, tensor in net.state_dict().items()}
    parts = {"unet": "UNet", "unet.enc": "ModuleDict", "unet.dec": "ModuleDict"}
    ema = network(state, {name for name, _ in net.named_buffers()}, "Precond", kwargs, parts)
    moments = {"scale": np.full(4, 0.1, np.float32), "bias": np.zeros(4, np.float32)}
    encoder = Thing("StabilityVAEEncoder" if sizes["image_channels"] == 4 else "StandardRGBEncoder", moments)
    dataset = Easy(class_name="training.dataset.ImageFolderDataset", path="datasets/synthetic.zip")
    loss = Thing("EDM2Loss", {"P_mean": -0.4, "P_std": 1.0, "sigma_data": 0.5})
    write(path, Easy(encoder=encoder, dataset_kwargs=dataset, loss_fn=loss, ema=ema))


def _adm(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    net = Adm(**sizes, **_levels(sizes), attention_px=(_BOTTOM_PX,), generator=generator)
    _save_torch(path, _drawn(net, generator).unet)


def _classifier(sizes: dict[str, Any], generator: torch.Generator) -> AdmClassifier:
    shape: dict[str, Any] = {**_levels(sizes), "attention_px": (_bottom(sizes),)}
    net: AdmClassifier = _drawn(AdmClassifier(**sizes, **shape, generator=generator), generator)
    return net


def _adm_classifier(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    _save_torch(path, _classifier(sizes, generator).encoder)


def _dg(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    extractor = {
        "resolution_px": sizes["resolution_px"],
        "image_channels": sizes["image_channels"],
        "classes": 2,  # the head does not see it
        **_levels(sizes),
        "attention_px": [_bottom(sizes)],
    }
    net = AdmDiscriminator(**sizes, extractor=extractor, generator=generator, channels=_WIDTH, blocks=1)
    _save_torch(path, _drawn(net, generator).head)


def _dit(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    net = Dit(
        **sizes, width=384, depth=1, heads=6, generator=generator
    )  # the narrowest whose heads are known
    _save_torch(path, _drawn(net, generator).transformer)


def _vae(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    from guidelab.autoencoder import build

    halvings = (sizes["resolution_px"] // sizes["side_px"]).bit_length() - 1
    config: dict[str, Any] = {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.4.2",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": [16] * (halvings + 1),
        "down_block_types": ["DownEncoderBlock2D"] * (halvings + 1),
        "up_block_types": ["UpDecoderBlock2D"] * (halvings + 1),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": sizes["resolution_px"],
    }
    net = _drawn(build(config), generator, everything=True)
    path.mkdir(exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    with atomic_write(path / "diffusion_pytorch_model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    with atomic_write(path / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _moments(features: int, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    x = rng.standard_normal((4 * features, features)) * 0.1 + 0.2
    return {"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)}


def _npz(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    rng = np.random.default_rng(int(generator.initial_seed()))
    arrays: dict[str, Any] = _moments(FEATURES, rng)
    if path.name.startswith("VIRTUAL"):  # ADM's also hold spatial features and images
        arrays |= {f"{name}_s": value for name, value in _moments(SPATIAL, rng).items()}
        shape = (REFERENCE_IMAGES, sizes["resolution_px"], sizes["resolution_px"], 3)
        arrays["arr_0"] = rng.integers(0, 256, shape, dtype=np.uint8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _pkl(path: Path, row: Row, sizes: dict[str, Any], generator: torch.Generator) -> None:
    rng = np.random.default_rng(int(generator.initial_seed()))
    with atomic_write(path) as temporary:
        content = {"fid": _moments(FEATURES, rng), "fd_dinov2": _moments(FEATURES, rng)}
        temporary.write_bytes(pickle.dumps(content, protocol=4))


def _shared(sizes: dict[str, Any]) -> dict[str, Any]:
    names = {"resolution_px": "img_resolution", "image_channels": "img_channels", "classes": "label_dim"}
    return {names[key]: value for key, value in sizes.items()}


def _levels(sizes: dict[str, Any]) -> dict[str, Any]:
    """ADM's levels: halved until 8 px, or not at all where it starts below."""
    count = max(1, (sizes["resolution_px"] // _BOTTOM_PX).bit_length())
    return {"channels": _WIDTH, "channel_mult": tuple(min(2**i, 4) for i in range(count)), "blocks": 1}


def _bottom(sizes: dict[str, Any]) -> int:
    return int(sizes["resolution_px"]) >> (len(_levels(sizes)["channel_mult"]) - 1)


def _drawn(net: Any, generator: torch.Generator, *, everything: bool = False) -> Any:
    """The net with small random numbers in place of zeros, which would hide parts of it; see `everything`.

    Args:
        net: its parameters are changed.
        generator: source of the numbers.
        everything: all but the ones of normalisations is drawn anew, where the net was built from the global generator.
    """
    with torch.no_grad():
        for tensor in net.parameters():
            if not tensor.any() or (everything and not bool((tensor == 1).all())):
                fan = max(1, tensor[0].numel()) if tensor.ndim > 1 else 400
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan**0.5)
    return net


def _save_torch(path: Path, net: nn.Module) -> None:
    """Through memory: torch writes the name of the file it saves to, which is temporary, into the file."""
    state: dict[str, Tensor] = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


_WRITERS: dict[str, Callable[[Path, Row, dict[str, Any], torch.Generator], None]] = {
    "edm_pickle": _edm,
    "edm2_pickle": _edm2,
    "adm_pt": _adm,
    "adm_classifier_pt": _adm_classifier,
    "dg_pt": _dg,
    "dit_pt": _dit,
    "vae": _vae,
    "reference_npz": _npz,
    "reference_pkl": _pkl,
}
