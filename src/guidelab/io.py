"""Files and arrays: atomic writes, safetensors in and out, checksums. No mathematics, no paths of its own."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from guidelab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_KEY = "guidelab"  # the one header entry we write: everything about the arrays, as JSON
_TYPES = {  # as the format names them, in the order its own writer stores them: wide ones first
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNED = 8  # bytes the header's length is a multiple of


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` only when the block ends without an error.

    Raises:
        UserError: the folder cannot be written, or the disk is full. Nothing partial is left behind.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)  # mkstemp makes 0600; results are meant to be shared
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}). Nothing was left behind; "
            "free some space or choose another folder, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def save_arrays(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors and their description as one safetensors file, atomically and byte-for-byte repeatable.

    One tensor after another is written: the whole needs no more memory than the largest.

    Args:
        path: the file to write.
        tensors: name to tensor, any shape; stored contiguous, on the CPU, keeping their dtype.
        meta: JSON-serialisable description, read back by `load_arrays`.
    Raises:
        UserError: the file cannot be written.
        ValueError: a tensor of a type the format does not have.
    Source: the safetensors format; the same bytes as its own writer.
    """
    unknown = {str(value.dtype) for value in tensors.values() if value.dtype not in _TYPES}
    if unknown:
        raise ValueError(f"save_arrays: given {sorted(unknown)}, wanted one of {', '.join(map(str, _TYPES))}")
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(meta, sort_keys=True)}}
    rank = {dtype: place for place, dtype in enumerate(_TYPES)}
    order = sorted(tensors, key=lambda name: (rank[tensors[name].dtype], name))
    end = 0
    for name in order:
        value = tensors[name]
        begin, end = end, end + value.numel() * value.element_size()
        offsets = [begin, end]
        header[name] = {"dtype": _TYPES[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def load_arrays(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_arrays`: tensors by name, and the description.

    Raises:
        UserError: missing, truncated, not safetensors, or not written by guidelab.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(
            f"{source}: no such file; wanted a guidelab array file (.safetensors). Build it with snakemake {source}"
        )
    try:
        with safe_open(source, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{source}: is not a readable safetensors file ({error}); it may be truncated. Delete it and run again."
        ) from error
    if _KEY not in header:
        raise UserError(
            f"{source}: is a safetensors file, but not one written by guidelab (its header has no '{_KEY}' entry). "
            "Give the file guidelab made."
        )
    return tensors, json.loads(header[_KEY])


def wanted(tensors: dict[str, Tensor], name: str, path: str | Path, shape: tuple[int | None, ...]) -> Tensor:
    """`tensors[name]`, checked against `shape` (None for any length).

    Raises:
        UserError: absent, or of another shape; says what the file holds and what was wanted.
    """
    if name not in tensors:
        held = ", ".join(sorted(tensors)[:6])
        raise UserError(f"{path}: holds no {name!r} (it holds {held}, ...). Delete the file and run again.")
    found = tuple(tensors[name].shape)
    if len(found) != len(shape) or any(w is not None and w != f for w, f in zip(shape, found, strict=True)):
        raise UserError(f"{path}: {name} has shape {found}, wanted {shape}. Delete the file and run again.")
    return tensors[name]


def sha256(path: str | Path) -> str:
    """Hex sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_csv(path: str | Path) -> "pd.DataFrame":
    """A CSV of ours as a DataFrame; empty cells of text columns are empty strings, not NaN.

    Raises:
        UserError: missing, empty or malformed.
    """
    import pandas as pd  # here: most jobs write arrays alone, and its import takes .3 s

    try:
        return pd.read_csv(
            path, keep_default_na=False, na_values={c: [""] for c in ("value", "std_error", "ess")}
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Build it with snakemake {path}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a readable CSV ({error}). Delete it and run again.") from error


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table without its index, atomically; floats with 10 significant digits so that bytes repeat."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def torch_version() -> str:
    """The torch version without its build label (`2.13.0`, not `2.13.0+cpu`): the label names no arithmetic."""
    return str(torch.__version__).split("+")[0]
