"""Read pickles of EDM and EDM2 through an allowlist of names; nothing in them is executed or imported."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from torch import Tensor

from guidelab.checkpoints.pickle_arrays import SealedArray
from guidelab.checkpoints.pickle_scan import scan
from guidelab.checkpoints.pickle_stubs import (
    KNOWN,
    Module,
    Persistent,
    SealedTensor,
    Unknown,
)
from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.data import limits
from guidelab.data.placeholders import placeholder_file
from guidelab.errors import UserError, brief


class Network(NamedTuple):
    """A network found in a pickle: parameters by their released names, its class, what it was constructed with."""

    state: dict[str, Tensor]
    class_name: str
    init_kwargs: dict[str, Any]


def read_pickle(path: str | Path, *, max_bytes: int = limits.WEIGHTS_BYTES) -> Any:
    """A pickle's content as plain containers, inert objects and sealed tensors and arrays.

    Raises:
        UserError: missing, too large, cut short or damaged; or it names something that is not on the list (all such
            names are listed). Nothing in the file was run.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{source}: no such file; wanted a pickle of released weights")
    size = source.stat().st_size
    if size > max_bytes:
        raise UserError(f"{source}: {size} bytes, wanted at most {max_bytes}: released files are smaller")
    if reason := placeholder_file(source):
        raise UserError(f"{source}: {reason}.")
    names: list[str] = []
    try:
        with source.open("rb") as file:
            scan(file, size)
            file.seek(0)
            content = _Reader(file, names).load()
        if names:
            raise RefusedError(_unknown(names))
        return content
    except RefusedError as error:
        reason = _unknown(names) if names else str(error)
        raise UserError(
            f"{source}: {reason}; nothing in the file was run. Take it from its publisher again."
        ) from error
    except Exception as error:  # any exception, as the bytes of a damaged pickle decide which
        reason = (
            _unknown(names) if names else f"is not a readable pickle ({type(error).__name__}: {brief(error)})"
        )
        raise UserError(f"{source}: {reason}; nothing in the file was run.") from error


def read_networks(path: str | Path) -> dict[str, Network]:
    """Every network of an EDM or EDM2 pickle by its key, `ema` among them.

    Raises:
        UserError: see `read_pickle`; or the pickle holds no network, or one with unknown parts.
    """
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, wanted EDM's dict with the network `ema`")
    try:
        found = {
            _key(key): _network(value)
            for key, value in content.items()
            if isinstance(value, Persistent) and "_parameters" in value.state
        }
    except RefusedError as error:
        raise UserError(f"{path}: {error}; nothing in the file was run.") from error
    if "ema" not in found:
        held = ", ".join(sorted(_key(key) for key in content)[:8]) or "nothing"
        raise UserError(f"{path}: holds no network `ema` (it holds {held}); wanted a pickle of EDM or EDM2")
    return found


def plain(value: Any) -> Any:
    """Nested containers of numbers and text as JSON has them; arrays become lists.

    Raises:
        RefusedError: anything else is in it, or it holds too many values or levels.
    """
    return _plain(value, 0, [limits.SETTINGS])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > limits.MODULE_NESTING:
        raise RefusedError(
            f"holds settings of more than {limits.SETTINGS} values or nested more than {limits.MODULE_NESTING} deep"
        )
    if isinstance(value, SealedArray) and isinstance(value.value, np.ndarray):
        return _plain(
            value.value.tolist() if value.value.size <= left[0] else [0] * (left[0] + 1), depth, left
        )
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, left) for item in value]
    if isinstance(value, dict):
        return {_key(key): _plain(item, depth + 1, left) for key, item in value.items()}
    raise RefusedError(f"holds a {type(value).__name__} among its settings")


def _key(key: Any) -> str:
    """A key as text; the content of anything but text and numbers is not repeated."""
    return str(key)[:200] if isinstance(key, str | int | float) else type(key).__name__


class _Reader(pickle.Unpickler):
    """Resolves listed names to stand-ins of this package; any other becomes an inert object and is recorded."""

    def __init__(self, file: Any, names: list[str]) -> None:
        super().__init__(file)
        self.names, self.unknown = names, type("Unknown", (Unknown,), {})

    def find_class(self, module: str, name: str) -> Any:
        known = KNOWN.get((module, name))
        if known is None:
            full = f"{module}.{name}"[:200]
            if full not in self.names and len(self.names) < 64:
                self.names.append(full)
            return self.unknown
        return known

    def persistent_load(self, pid: Any) -> NoReturn:
        raise RefusedError("refers to something outside itself")


def _unknown(names: list[str]) -> str:
    return f"names {', '.join(repr(n)[1:-1] for n in sorted(names))}, which released weights do not need"


def _network(found: Persistent) -> Network:
    if found.state.get("_init_args"):
        raise RefusedError("holds a network constructed from arguments without names")
    kwargs = plain(found.state.get("_init_kwargs") or {})
    state: dict[str, Tensor] = {}
    budget = [limits.MODULES]
    _flatten(found, "", state, budget, 0)
    return Network(state, found.class_name, kwargs)


def _flatten(module: Any, prefix: str, into: dict[str, Tensor], budget: list[int], depth: int) -> None:
    """Parameters and buffers below a module, named as torch's state_dict names them."""
    budget[0] -= 1
    if budget[0] < 0 or depth > limits.MODULE_NESTING:
        raise RefusedError(
            f"holds a network of more than {limits.MODULES} parts, or {limits.MODULE_NESTING} levels"
        )
    if not isinstance(module, Persistent | Module) or not isinstance(module.state, dict):
        raise RefusedError(f"holds a {type(module).__name__} where a part of a network should be")
    passing = module.state.get("_non_persistent_buffers_set") or set()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _items(module, kind):
            if tensor is None or (kind == "_buffers" and name in passing):
                continue
            if not isinstance(tensor, SealedTensor):
                raise RefusedError(f"holds a {type(tensor).__name__} as the tensor {prefix}{name}")
            into[f"{prefix}{name}"] = tensor.value
    for name, part in _items(module, "_modules"):
        if part is not None:
            _flatten(part, f"{prefix}{name}.", into, budget, depth + 1)


def _items(module: Persistent | Module, kind: str) -> list[tuple[str, Any]]:
    assert isinstance(module.state, dict)  # checked by _flatten
    found = module.state.get(kind) or {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise RefusedError(f"holds {kind} that are not named")
    return list(found.items())
