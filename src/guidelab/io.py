"""Files and arrays: atomic writes, safetensors in and out, checksums. No mathematics, no paths of its own."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from guidelab.errors import UserError

_KEY = "guidelab"  # the one header entry we write: everything about the arrays, as JSON


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


def save_arrays(path: str | Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write named tensors and their description as one safetensors file, atomically and byte-for-byte repeatable.

    Args:
        path: the file to write.
        tensors: name to tensor, any shape; stored contiguous, on the CPU, keeping their dtype.
        meta: JSON-serialisable description, read back by `load_arrays`.
    """
    # cloned: safetensors refuses tensors that share memory, and two names for one tensor are no mistake here
    flat = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    header = {_KEY: json.dumps(meta, sort_keys=True)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(serialise(flat, header))


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


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV of ours as a DataFrame; empty cells of text columns are empty strings, not NaN.

    Raises:
        UserError: missing, empty or malformed.
    """
    try:
        return pd.read_csv(
            path, keep_default_na=False, na_values={c: [""] for c in ("value", "std_error", "ess")}
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Build it with snakemake {path}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a readable CSV ({error}). Delete it and run again.") from error


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table without its index, atomically; floats with 10 significant digits so that bytes repeat."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def torch_version() -> str:
    """The torch version without its build label (`2.13.0`, not `2.13.0+cpu`): the label names no arithmetic."""
    return str(torch.__version__).split("+")[0]
