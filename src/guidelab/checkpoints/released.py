"""Load a pretrained file of any supported format: its configuration, and tensors in this package's names."""

import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab.checkpoints import statistics, vae
from guidelab.checkpoints.pickles import read_networks
from guidelab.checkpoints.tensors import read_tensors
from guidelab.errors import UserError, closest
from guidelab.io import load_arrays

Read = tuple[dict[str, Any], dict[str, Tensor]]


_PICKLES = tuple(bytes([0x80, version]) for version in (2, 3, 4, 5))
_EDM2_CLASS = "Precond"
_OF_PICKLES = {"edm": ("edm_pickle", "from_edm"), "edm2": ("edm2_pickle", "from_edm2")}
_MARKS = {  # a tensor that only this network has
    "dit_pt": ("x_embedder.proj.weight", "from_dit", "convert"),
    "adm_pt": ("out.2.weight", "from_adm", "convert_unet"),
}
_OLD_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # how torch.save began before it used archives


def read_released(path: str | Path, format: str, hints: Mapping[str, Any] | None = None) -> Read:
    """Configuration and tensors of a released file, read without running anything in it.

    Args:
        path: the file, or the folder of an autoencoder.
        format: edm_pickle, edm2_pickle, adm_pt, adm_classifier_pt, dit_pt, dg_pt, vae, reference_npz, reference_pkl,
            inception_pt or dinov2_pth.
        hints: what a file cannot say about itself: `extractor` (path of the classifier below a dg_pt), and settings
            such as `heads` or `schedule`, passed to the converters of .pt files.
    Returns:
        For networks the configuration with `name` and the state dict of that net of ours; for autoencoders the
        settings of diffusers and their state dict; for statistics and features what they hold, and their tensors.
    Raises:
        UserError: no such format, or the file is absent, broken, hostile or of another architecture; names the file.
    """
    reader = _READERS.get(format)
    if reader is None:
        raise UserError(f"{path}: format {format!r} is not known{closest(format, list(_READERS))}")
    return _checked_floats(path, *reader(Path(path), dict(hints or {})))


def read_denoiser(path: str | Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Format, configuration and tensors of a released denoiser; which format it is follows from the content.

    Raises:
        UserError: as `read_released`; or it is none of EDM, EDM2, ADM or DiT.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{path}: no such file; wanted a net: a pickle of EDM or EDM2, a .pt of ADM or DiT")
    if source.suffix == ".safetensors":
        return "guidelab", *_checked_floats(path, *_ours(source, {}))
    if source.open("rb").read(2) in _PICKLES and not _is_torch(source):
        network = read_networks(source)["ema"]
        format, module = _OF_PICKLES["edm2" if network.class_name == _EDM2_CLASS else "edm"]
        kwargs = {**network.init_kwargs, "precond": network.class_name}
        return format, *_checked_floats(path, *_converted(source, module, "convert", network.state, kwargs))
    state = read_tensors(source)
    for format, (mark, module, function) in _MARKS.items():
        if mark in state:
            return format, *_checked_floats(path, *_converted(source, module, function, state, {}))
    raise UserError(
        f"{path}: holds the tensors {', '.join(sorted(state)[:3]) or 'of nothing'} ..., which are of no denoiser of ADM or DiT; "
        "for a discriminator or classifier see `guidelab import --help`"
    )


def _is_torch(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(len(_OLD_TORCH)) == _OLD_TORCH


def _checked_floats(path: str | Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Read:
    """The result of a reader; refused unless all tensors hold finite floats."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise UserError(
                f"{path}: {name} holds {tensor.dtype}, wanted floats; weights of no net are whole numbers"
            )
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds values that are not finite; the file is damaged")
    return config, tensors


def _pickle(module: str) -> Callable[[Path, dict[str, Any]], Read]:
    def read(path: Path, hints: dict[str, Any]) -> Read:
        network = read_networks(path)["ema"]
        kwargs = {**network.init_kwargs, "precond": network.class_name}
        return _converted(path, module, "convert", network.state, kwargs)

    return read


def _torch(module: str, function: str) -> Callable[[Path, dict[str, Any]], Read]:
    def read(path: Path, hints: dict[str, Any]) -> Read:
        return _converted(path, module, function, read_tensors(path), hints)

    return read


def _discriminator(path: Path, hints: dict[str, Any]) -> Read:
    extractor = hints.pop("extractor", None)
    if extractor is None:
        raise UserError(
            f"{path}: is the head of a discriminator; give the classifier whose features it reads (`extractor`) as well"
        )
    below = read_tensors(extractor)
    return _converted(path, "from_adm", "convert_discriminator", below, read_tensors(path))


def _plain(path: Path, hints: dict[str, Any]) -> Read:
    found = read_tensors(path)
    return {}, {
        name: t for name, t in found.items() if t.is_floating_point()
    }  # counters of batches seen are not


def _ours(path: Path, hints: dict[str, Any]) -> Read:
    """A net of our own training, at its first training seed."""
    tensors, about = load_arrays(path)
    if not isinstance(about.get("net"), dict) or not about.get("seeds"):
        raise UserError(f"{path}: holds {about.get('kind', 'something else')!r}, wanted a net of images")
    prefix = f"seed{about['seeds'][0]}/"
    found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return about["net"], {key: value for key, value in found.items() if value.is_floating_point()}


def _converted(path: Path, module: str, function: str, *given: Any) -> Read:
    """A converter's answer; its refusal names the file."""
    try:
        found: Read = getattr(import_module(f"guidelab.checkpoints.{module}"), function)(*given)
        return found
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


_READERS: dict[str, Callable[[Path, dict[str, Any]], Read]] = {
    "edm_pickle": _pickle("from_edm"),
    "edm2_pickle": _pickle("from_edm2"),
    "adm_pt": _torch("from_adm", "convert_unet"),
    "adm_classifier_pt": _torch("from_adm", "convert_classifier"),
    "dit_pt": _torch("from_dit", "convert"),
    "dg_pt": _discriminator,
    "vae": lambda path, hints: vae.read_autoencoder(path),
    "reference_npz": lambda path, hints: statistics.read_npz(path),
    "reference_pkl": lambda path, hints: statistics.read_pkl(path),
    "inception_pt": _plain,
    "dinov2_pth": _plain,
    "guidelab": _ours,
}
