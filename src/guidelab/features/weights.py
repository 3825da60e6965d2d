"""Locate and read extractors' pretrained weights; a missing file is refused with how to get it."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from guidelab.errors import UserError


def wanted_path(path: str | Path | None, where: str, file: str, source: str) -> Path:
    """The path, if it is a file.

    Args:
        path: as given in the parameters.
        where: the extractor's name.
        file: the released file's name.
        source: where it is published.

    Raises:
        UserError: not given or no such file; names the file to fetch, its address and where to put it.
    """
    if path is None:
        raise UserError(
            f"{where}: no weights given. Fetch {file} from {source} and give its path as `path:`; nothing is "
            "downloaded by itself."
        )
    if not Path(path).is_file():
        raise UserError(
            f"{where}: {path}: no such file. Fetch {file} from {source} and put it into {Path(path).parent.absolute()} "
            f"as {Path(path).name}; nothing is downloaded by itself."
        )
    return Path(path)


def read_state_dict(path: Path, where: str) -> dict[str, Tensor]:
    """A state dict in a safetensors file, or in a file of torch.save; of the latter only tensors are accepted.

    Raises:
        UserError: unreadable, or it holds anything but tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(
            f"{where}: {path}: cannot be read as tensors alone ({str(error).splitlines()[0]}). It may be cut short, or "
            "be a file that carries code, which is never run here."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise UserError(f"{where}: {path}: holds no state dict (tensors by name)")
    return {str(name): tensor for name, tensor in found.items()}
