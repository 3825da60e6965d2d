"""Read and write safetensors files of named tensors with a JSON description."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io.files import atomic_write

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


def save_arrays(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors and their description as one safetensors file, atomically and byte-for-byte repeatable.

    One tensor after another is written: memory use is that of the largest tensor.

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
    try:
        about = json.loads(header[_KEY])
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{source}: its description is not JSON ({error}). Delete it and run again."
        ) from error
    return tensors, about


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
