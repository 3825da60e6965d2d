"""Write pickles in the formats of EDM and EDM2 with synthetic weights.

Objects are written as those files have them: a call of `torch_utils.persistence._reconstruct_persistent_obj` on the
object's state with a copy of its source, tensors as nested files of torch.save in its old form. The named modules
need not exist.
"""

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab.io import atomic_write

VERSION = 6
SOURCE = '"""Where a released file keeps the source of its classes; here there is none."""\n' + "#\n" * 400


@dataclass(frozen=True)
class Named:
    """Something a pickle names and we need not have."""

    module: str
    name: str

    def __call__(self, *_: Any) -> None:
        """Never called; it marks a global that the pickle names."""


@dataclass
class Thing:
    """An object saved with its class.

    Attributes:
        class_name: of its class; `ModuleDict` for torch's container, which is saved without source.
        state: its attributes.
        version: of the persistence format.
    """

    class_name: str
    state: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION


class Easy(dict[str, Any]):
    """Written as `dnnlib.util.EasyDict`."""


class Writer(pickle._Pickler):  # the Python one: its handling of names can be replaced
    """Writes `Named`, `Thing`, `Easy` and tensors as released files have them."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Write one object."""
        me: Any = self  # typeshed knows the C pickler's side alone
        named = isinstance(obj, Named)
        if not named and not (isinstance(obj, Thing) and obj.class_name == _CONTAINER.name):
            super().save(obj, save_persistent_id)  # type: ignore[misc]
        elif id(obj) in me.memo:
            me.write(me.get(me.memo[id(obj)][0]))
        elif named:
            for text in (obj.module, obj.name):
                self.save(text)
            me.write(pickle.STACK_GLOBAL)
            me.memoize(obj)
        else:  # a container of torch has no source: a new object, then its state
            self.save(_CONTAINER)
            me.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
            me.memoize(obj)
            self.save(obj.state)
            me.write(pickle.BUILD)

    def reducer_override(self, obj: Any) -> Any:
        """How objects that are not plain are written."""
        if isinstance(obj, Tensor):
            memory = _Memory(memory_of(obj))
            shape, strides = tuple(obj.shape), tuple(obj.contiguous().stride())
            return _REBUILD_TENSOR, (memory, 0, shape, strides, False, OrderedDict())
        if isinstance(obj, _Memory):
            return _LOAD, (obj.content,)
        if isinstance(obj, _Parameter):
            return _REBUILD_PARAMETER, (obj.data, False, OrderedDict())
        if isinstance(obj, Easy):
            return _EASY, (), None, None, iter(obj.items())
        if isinstance(obj, Thing):
            meta = {"type": "class", "version": obj.version, "module_src": SOURCE}
            return _RECONSTRUCT, ({**meta, "class_name": obj.class_name, "state": obj.state},)
        return NotImplemented


def memory_of(tensor: Tensor) -> bytes:
    """A tensor's numbers as `torch.save` wrote them before it used archives, but the same bytes every time.

    Torch itself puts an address of the process into the file, as the key of the memory.
    """

    class Index(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            kind = getattr(torch, _STORAGES[tensor.dtype])
            return ("storage", kind, "0", "cpu", tensor.numel(), None) if obj is tensor else None

    file = io.BytesIO()
    machine = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    for head in (0x1950A86A20F9469CFC6C, 1001, machine):  # torch's magic number and version of this form
        pickle.dump(head, file, protocol=2)
    Index(file, protocol=2).dump(tensor)
    pickle.dump(["0"], file, protocol=2)
    numbers = tensor.detach().contiguous().reshape(-1)
    file.write(struct.pack("<q", tensor.numel()) + numbers.view(torch.uint8).numpy().tobytes())
    return file.getvalue()


_STORAGES = {
    torch.float16: "HalfStorage", torch.float32: "FloatStorage", torch.float64: "DoubleStorage",
    torch.bfloat16: "BFloat16Storage", torch.int64: "LongStorage", torch.complex64: "ComplexFloatStorage",
}  # fmt: skip


@dataclass
class _Memory:
    content: bytes


@dataclass
class _Parameter:
    data: Tensor


_RECONSTRUCT = Named("torch_utils.persistence", "_reconstruct_persistent_obj")
_REBUILD_TENSOR = Named("torch._utils", "_rebuild_tensor_v2")
_REBUILD_PARAMETER = Named("torch._utils", "_rebuild_parameter")
_LOAD = Named("torch.storage", "_load_from_bytes")
_EASY = Named("dnnlib.util", "EasyDict")
_CONTAINER = Named("torch.nn.modules.container", "ModuleDict")


def network(
    state: Mapping[str, Tensor],
    buffers: set[str],
    class_name: str,
    init_kwargs: Mapping[str, Any],
    classes: Mapping[str, str],
) -> Thing:
    """A network as a tree of objects, as its class would have been saved.

    Args:
        state: parameters and buffers by their released names.
        buffers: those that are no parameters.
        class_name: of the whole.
        init_kwargs: what it was constructed with.
        classes: class names of its parts by their path (`model`, `unet.enc`); `Block` where none is given.
    """
    root = _module(class_name)
    root.state |= {"_init_args": (), "_init_kwargs": dict(init_kwargs), "training": False}
    for name, tensor in state.items():
        *path, last = name.split(".")
        part = root
        for depth, step in enumerate(path):
            known = classes.get(".".join(path[: depth + 1]), "Block")
            part = part.state["_modules"].setdefault(step, _module(known))
        kind = "_buffers" if name in buffers else "_parameters"
        part.state[kind][last] = tensor if name in buffers else _Parameter(tensor)
    return root


def _module(class_name: str) -> Thing:
    empty: dict[str, Any] = {
        "_parameters": OrderedDict(),
        "_buffers": OrderedDict(),
        "_modules": OrderedDict(),
    }
    extra: dict[str, Any] = {} if class_name == _CONTAINER.name else {"_init_args": (), "_init_kwargs": {}}
    return Thing(class_name, {"training": False, **empty, "_non_persistent_buffers_set": set(), **extra})


def write(path: str | Path, content: Any, protocol: int = 4) -> None:
    """Write one pickle."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        Writer(file, protocol).dump(content)
