"""Stand-ins for the names in a pretrained pickle: inert objects, and functions of this package that check arguments.

No name is looked up in a module. Objects keep their state as it was written; the Python source that NVIDIA's files
carry for each object is hashed and dropped.
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidelab.checkpoints.pickle_arrays import (
    NumberType,
    Sealed,
    SealedArray,
    from_buffer,
    latin1,
    scalar,
    shown,
)
from guidelab.checkpoints.pickle_scan import scan_legacy, short_reason
from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.data import limits

VERSION = 6  # of the persistence format; EDM and EDM2 write this one
_STORED = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool,
)  # fmt: skip


class Inert:
    """An object of the file that is never executed: its state, or the arguments it was called with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Unknown(Inert):
    """Stands for a name that is not on the list, until the whole file was read and all such names are reported."""

    def __call__(self, *args: Any, **kwargs: Any) -> "Unknown":
        """Nothing is called."""
        return self

    def append(self, _: Any) -> None:
        """Ignore the value."""

    extend = add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class Easy(dict[str, Any]):
    """`dnnlib.util.EasyDict` and `collections.OrderedDict`: a plain dict here."""

    def __setstate__(self, state: Any) -> None:
        if state and not isinstance(state, dict):
            raise RefusedError("sets the state of a dict to something else")


class Module(Inert):
    """A container of torch.nn, which needs no source of its own."""


@dataclass
class Persistent:
    """An object whose class was saved with it as source code; the source itself is not kept.

    Attributes:
        class_name: what the class was called.
        state: its attributes.
        source_sha256, source_length: of the source code found (characters).
    """

    class_name: str
    state: dict[str, Any]
    source_sha256: str
    source_length: int

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("changes an object after it was made")


def _persistent(meta: Any) -> Persistent:
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("state"), dict):
        raise RefusedError("holds an object that was not saved as EDM does it")
    if meta.get("version") != VERSION:
        raise RefusedError(
            f"holds objects of persistence version {shown(meta.get('version'))}, wanted {VERSION}"
        )
    source = meta.get("module_src")
    if not isinstance(source, str) or not isinstance(meta.get("class_name"), str):
        raise RefusedError("holds an object without the name of its class")
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return Persistent(meta["class_name"], meta["state"], digest, len(source))


class SealedTensor(Sealed):
    """A tensor of the file, as `.value`."""


class _Storage(Sealed):
    """A tensor's memory, and the type of its numbers."""

    def __init__(self, memory: torch.UntypedStorage, dtype: torch.dtype) -> None:
        super().__init__(memory)
        self.dtype = dtype


def _load_from_bytes(content: Any) -> _Storage:
    """Memory of a tensor, from a nested file of torch.save in its old form; torch reads it as tensors alone."""
    if not isinstance(content, bytes):
        raise RefusedError("holds a tensor's memory that is no bytes")
    scan_legacy(io.BytesIO(content), len(content))
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # any exception that torch raises for damaged bytes
        raise RefusedError(
            f"holds a tensor's memory that cannot be read as numbers alone ({short_reason(error)})"
        ) from error
    if not isinstance(found, torch.storage.TypedStorage) or found.dtype not in _STORED:
        raise RefusedError("holds a tensor's memory that is no memory of numbers")
    return _Storage(found._untyped_storage, found.dtype)


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _grad: Any = False,
    _hooks: Any = None,
    _meta: Any = None,
) -> SealedTensor:
    if not isinstance(storage, _Storage):
        raise RefusedError("holds a tensor without memory")
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not all(type(n) is int and n >= 0 for n in numbers) or not len(size) == len(stride) <= limits.RANK:
        raise RefusedError(f"holds a tensor of shape {shown(size)} and strides {shown(stride)}")
    held = storage.value.nbytes() // storage.dtype.itemsize
    count = int(np.prod([int(n) for n in size], dtype=object))
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if count else offset
    if count > min(held, limits.ELEMENTS) or last >= max(held, 1):
        raise RefusedError(f"holds a tensor of shape {size} in memory of {held} numbers")
    tensor: Tensor = torch.empty(0, dtype=storage.dtype)
    return SealedTensor(tensor.set_(storage.value, offset, size, stride))


def _rebuild_parameter(data: Any, _grad: Any = False, _hooks: Any = None) -> SealedTensor:
    if not isinstance(data, SealedTensor):
        raise RefusedError("holds a parameter that is no tensor")
    return data


def _set(items: Any = ()) -> set[Any]:
    return set(items) if isinstance(items, list | tuple) else set()


@dataclass(frozen=True)
class _Function:
    """A function the file may call and nothing else: a pickle can set attributes of what it names."""

    call: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("changes a function")


KNOWN: Mapping[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Function(_persistent),
    ("dnnlib.util", "EasyDict"): Easy,
    ("collections", OrderedDict.__name__): Easy,
    ("torch.nn.modules.container", "ModuleDict"): Module,
    ("torch.nn.modules.container", "ModuleList"): Module,
    ("torch.nn.modules.container", "Sequential"): Module,
    ("torch._utils", "_rebuild_parameter"): _Function(_rebuild_parameter),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_rebuild_tensor),
    ("torch.storage", "_load_from_bytes"): _Function(_load_from_bytes),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Function(SealedArray) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Function(scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Function(from_buffer) for core in ("core", "_core")},
    ("numpy", "ndarray"): _Function(SealedArray),  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Function(NumberType),
    ("_codecs", "encode"): _Function(latin1),  # protocols below 3 carry bytes as text
    ("builtins", "set"): _Function(_set),  # protocol 3
    ("__builtin__", "set"): _Function(_set),  # protocol 2
}
