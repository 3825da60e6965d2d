"""State dicts in files of torch.save and in safetensors files: tensors by name, and nothing else."""

import argparse
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from guidelab.checkpoints.pickle_scan import RefusedError, scan, scan_legacy, told
from guidelab.errors import UserError

MAX_BYTES = 1 << 34  # the largest released file, a DiT with its optimiser, has some 10 GB
MAX_ENTRIES = 50_000
MAX_INDEX = 1 << 27  # bytes of the index; its zip entry is read whole
MAX_TENSORS = 50_000
WITHIN = ("ema", "model", "state_dict")  # where a training checkpoint keeps its weights, best first


def read_tensors(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """A state dict: of a plain file, or the averaged weights (`ema`) of a training checkpoint.

    Args:
        path: a file of `torch.save` (.pt, .pth, .bin) or a .safetensors file.
        max_bytes: refuse larger files.
    Returns:
        Tensors by name on the CPU, in the dtype of the file.
    Raises:
        UserError: missing, too large, cut short, an archive that packs more than it shows, or it holds anything but
            tensors and settings. Nothing in the file was run.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{source}: no such file; wanted released weights (.pt, .pth, .bin or .safetensors)")
    size = source.stat().st_size
    if size > max_bytes:
        raise UserError(f"{source}: {size} bytes, wanted at most {max_bytes}: released files are smaller")
    try:
        found = load_file(source) if source.suffix == ".safetensors" else _read_torch(source, size)
        return _chosen(found, size)
    except RefusedError as error:
        raise UserError(
            f"{source}: {error}; nothing in the file was run. Take it from its publisher again."
        ) from error
    except (SafetensorError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{source}: is cut short or damaged ({told(error)}).") from error


def _read_torch(source: Path, size: int) -> Any:
    with source.open("rb") as file:
        if zipfile.is_zipfile(file):
            check_archive(source, size)
        else:
            file.seek(0)
            scan_legacy(file, size)
    try:
        # argparse.Namespace: DiT's training checkpoints keep their command line
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # the file's bytes decide what torch trips over, not our code
        raise RefusedError(f"cannot be read as tensors alone ({told(error)})") from error


def check_archive(source: Path, size: int) -> None:
    """Refuse an archive of torch.save with entries that lead elsewhere, are compressed, or claim more than is there.

    Raises:
        RefusedError: says which entry.
    """
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise RefusedError(f"packs {len(entries)} entries, wanted at most {MAX_ENTRIES}")
        for entry in entries:
            check_member(entry.filename, entry.external_attr >> 16)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise RefusedError(f"packs {entry.filename} compressed, which torch.save never does")
        if len({entry.filename for entry in entries}) != len(entries):
            raise RefusedError("packs two entries of the same name")
        declared = sum(entry.file_size for entry in entries)
        if declared > size:
            raise RefusedError(f"claims {declared} bytes in a file of {size}")
        for entry in entries:
            if PurePosixPath(entry.filename).name == "data.pkl":
                if entry.file_size > MAX_INDEX:
                    raise RefusedError(f"has an index of {entry.file_size} bytes, wanted at most {MAX_INDEX}")
                with archive.open(entry) as index:
                    scan(index, entry.file_size, torch_file=True)


def check_member(name: str, mode: int = 0) -> None:
    """Refuse a name in an archive that leads out of the folder it is unpacked into, or a link.

    Args:
        name: as the archive has it.
        mode: Unix mode of the entry, 0 where it has none.
    Raises:
        RefusedError: says which.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise RefusedError(f"packs an entry named {name!r}, which leads out of its folder")
    if stat.S_ISLNK(mode):
        raise RefusedError(f"packs {name} as a link")


def _chosen(found: Any, size: int) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise RefusedError(f"holds a {type(found).__name__}, wanted tensors by name")
    inner = next((found[key] for key in WITHIN if isinstance(found.get(key), dict)), found)
    if not inner or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in inner.items()):
        held = ", ".join(sorted(str(key)[:40] for key in found)[:8]) or "nothing"
        raise RefusedError(f"holds no state dict, tensors by name (it holds {held})")
    if len(inner) > MAX_TENSORS:
        raise RefusedError(f"holds {len(inner)} tensors, wanted at most {MAX_TENSORS}")
    for name, tensor in inner.items():
        if tensor.is_sparse or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
            raise RefusedError(f"holds {name} as a tensor of an unusual kind")
        if tensor.numel() * tensor.element_size() > size:
            raise RefusedError(
                f"holds {name} of shape {tuple(tensor.shape)}, more than the file's {size} bytes"
            )
    return {str(name): tensor.detach() for name, tensor in inner.items()}
