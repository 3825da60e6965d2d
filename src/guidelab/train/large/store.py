"""Array files of many snapshots, written one tensor after another: they need no more memory than the largest tensor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab.io import atomic_write

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNED = 8  # bytes the header's length is a multiple of


def save_large(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """What `guidelab.io.save_arrays` writes, for `guidelab.io.load_arrays` to read; also atomic and repeatable.

    Args:
        path: the file to write.
        tensors: name to tensor; those loaded from files are read when their turn comes.
        meta: JSON-serialisable description.
    Raises:
        UserError: the file cannot be written.
        ValueError: a tensor of a type the format does not have.
    """
    unknown = {str(value.dtype) for value in tensors.values() if value.dtype not in _TYPES}
    if unknown:
        raise ValueError(f"save_large: given {sorted(unknown)}, wanted one of {', '.join(map(str, _TYPES))}")
    header: dict[str, Any] = {"__metadata__": {"guidelab": json.dumps(meta, sort_keys=True)}}
    # wide types first, so that every tensor begins at a multiple of its own width
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    end = 0
    for name in order:
        value = tensors[name]
        begin, end = end, end + value.numel() * value.element_size()
        header[name] = {
            "dtype": _TYPES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)
