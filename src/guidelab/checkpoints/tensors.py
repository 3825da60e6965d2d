"""Read state dicts from files of torch.save and safetensors: tensors by name, nothing else."""

import argparse
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from guidelab.checkpoints.pickle_arrays import NumberType, SealedArray, scalar
from guidelab.checkpoints.pickle_scan import scan, scan_legacy, short_reason
from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.checkpoints.state import state_of
from guidelab.data import limits
from guidelab.data.archive import unreadable
from guidelab.data.placeholders import placeholder_file
from guidelab.data.strict_json import read_json
from guidelab.errors import UserError

# Names a training checkpoint may have besides its tensors, and their stand-ins here.
_BESIDE: tuple[Any, ...] = (
    argparse.Namespace,  # DiT's files keep their command line
    *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((SealedArray, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    (SealedArray, "numpy.ndarray"),
    (NumberType, "numpy.dtype"),
)


def read_tensors(path: str | Path, *, max_bytes: int = limits.WEIGHTS_BYTES) -> dict[str, Tensor]:
    """A state dict: of a plain file, or the averaged weights of a training checkpoint.

    Args:
        path: a file of `torch.save` (.pt, .pth, .bin) or a .safetensors file.
        max_bytes: refuse larger files.
    Returns:
        Tensors by name on the CPU, in the dtype of the file; see `guidelab.checkpoints.state.state_of`.
    Raises:
        UserError: missing, too large, cut short, an archive that packs more than it shows, or it holds anything but
            tensors and settings, or several state dicts. Nothing in the file was run.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{source}: no such file; wanted released weights (.pt, .pth, .bin or .safetensors)")
    size = source.stat().st_size
    if size > max_bytes:
        raise UserError(f"{source}: {size} bytes, wanted at most {max_bytes}: released files are smaller")
    if reason := placeholder_file(source):
        raise UserError(f"{source}: {reason}.")
    try:
        found = _read_safetensors(source) if source.suffix == ".safetensors" else _read_torch(source, size)
        return state_of(found, size)
    except RefusedError as error:
        raise UserError(
            f"{source}: {error}; nothing in the file was run. Take it from its publisher again."
        ) from error
    except Exception as error:  # the file's bytes decide what torch, zipfile and safetensors trip over
        raise UserError(f"{source}: is cut short or damaged ({short_reason(error)}).") from error


def _read_safetensors(source: Path) -> dict[str, Tensor]:
    """Tensors by name; the library's reader has validated the header then, but takes the last of two equal names."""
    found = load_file(source)
    with source.open("rb") as file:
        read_json(file.read(int.from_bytes(file.read(8), "little")))
    return found


def _read_torch(source: Path, size: int) -> Any:
    with source.open("rb") as file:
        if zipfile.is_zipfile(file):
            check_archive(source, size)
        else:
            file.seek(0)
            scan_legacy(file, size)
    try:
        with torch.serialization.safe_globals(list(_BESIDE)):
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # the file's bytes decide what torch trips over, not our code
        raise RefusedError(f"cannot be read as tensors alone ({short_reason(error)})") from error


def check_archive(source: Path, size: int) -> None:
    """Refuse an archive of torch.save with entries that lead out of the folder, are compressed, or claim more bytes than exist.

    Raises:
        RefusedError: says which entry.
    """
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > limits.ZIP_ENTRIES:
            raise RefusedError(f"packs {len(entries)} entries, wanted at most {limits.ZIP_ENTRIES}")
        for entry in entries:
            check_member(entry.filename, entry.external_attr >> 16)
            if fault := unreadable(entry):
                raise RefusedError(f"packs {entry.filename}, which {fault}")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise RefusedError(f"packs {entry.filename} compressed, which torch.save never does")
        if len({entry.filename for entry in entries}) != len(entries):
            raise RefusedError("packs two entries of the same name")
        declared = sum(entry.file_size for entry in entries)
        if declared > size:
            raise RefusedError(f"claims {declared} bytes in a file of {size}")
        for entry in entries:
            if PurePosixPath(entry.filename).name == "data.pkl":
                if entry.file_size > limits.PICKLE_INDEX_BYTES:
                    raise RefusedError(
                        f"has an index of {entry.file_size} bytes, wanted at most {limits.PICKLE_INDEX_BYTES}"
                    )
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
    unsafe = not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name
    if unsafe or not name.isprintable():
        raise RefusedError(f"packs an entry named {name[:200]!r}, which leads out of its folder")
    if stat.S_ISLNK(mode):
        raise RefusedError(f"packs {name} as a link")
