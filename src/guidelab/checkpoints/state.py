"""Select the state dict in a training checkpoint: the averaged weights (EMA) where there are any.

A checkpoint that holds several nets of one rank is refused: a guess between them would be silent and often wrong.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.data import limits

# Words within a key that mark averaged weights (`ema`, `model_ema`, `ema_state_dict`, `G_ema`, `shadow_params`, ...)
_AVERAGES = frozenset(
    ["ema", "emas", "shadow", "swa", "avg", "average", "averages", "averaged", "averager", "polyak", "phema"]
)
# First parts of names that wrappers add to every parameter
_WRAPPERS = frozenset(
    [
        "module",
        "model",
        "net",
        "network",
        "denoiser",
        "diffusion_model",
        "unet",
        "generator",
        "ema",
        "ema_model",
        "model_ema",
        "averaged_model",
        "shadow",
        "state_dict",
        "params",
        "weights",
    ]
)
# Parts that such wrappers add within names
_TRANSPARENT = frozenset(
    ["_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]
)
_COUNTERS = frozenset(["n_averaged", "num_updates", "initted", "step", "decay", "ema_decay"])  # of averages
_LEVELS = 6  # of dicts around a state dict, and of wrappers around a net
_NAMED = 8
_TYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool,
)  # fmt: skip
State = dict[str, Tensor]


def state_of(found: Any, size: int) -> State:
    """The state dict in what a file holds.

    Averages of the weights come before the weights. Names lose what wrappers put before all of them (`module.`,
    `_orig_mod.`, ...), and the counters of such wrappers are left out.

    Args:
        found: the file's content: tensors by name, perhaps within dicts.
        size: bytes of the file, the most a tensor may have.
    Raises:
        RefusedError: no state dict, several of them, or tensors of an unusual kind.
    """
    if not isinstance(found, dict):
        raise RefusedError(f"holds a {type(found).__name__}, wanted tensors by name")
    state = _chosen(found, "", 0, {})
    if state is None and not any(_is_average(key) for key in found if isinstance(key, str)):
        state = (
            _unwrapped({k: v for k, v in found.items() if isinstance(v, Tensor)}, "")
            if _flat(found)
            else None
        )
    if state is None:
        raise RefusedError(f"holds no state dict, tensors by name (it holds {_keys(found)})")
    if len(state) > limits.TENSORS:
        raise RefusedError(f"holds {len(state)} tensors, wanted at most {limits.TENSORS}")
    for name, tensor in state.items():
        _check(name, tensor, size)
    return {name: tensor.detach() for name, tensor in state.items()}


def _chosen(found: Mapping[Any, Any], where: str, level: int, seen: dict[int, State | None]) -> State | None:
    """The state dict in a dict, averages first; None where there is none, or in a dict that holds itself."""
    if level > _LEVELS:
        return None
    if id(found) not in seen:  # one dict may stand under several names
        seen[id(found)] = None
        seen[id(found)] = (
            _unwrapped(dict(found), where) if _is_state(found) else _held(found, where, level, seen)
        )
    return seen[id(found)]


def _held(found: Mapping[Any, Any], where: str, level: int, seen: dict[int, State | None]) -> State | None:
    """The state dict among the values of a dict."""
    averages: dict[str, State] = {}
    others: dict[str, State] = {}
    for key, value in found.items():
        if not isinstance(key, str):
            continue
        path, average = f"{where}{key[:60]}", _is_average(key)
        state = _chosen(value, f"{path}.", level + 1, seen) if isinstance(value, dict) else None
        if state is not None:
            (averages if average else others)[path] = state
        elif average and _holds_tensors(value, 0):
            raise RefusedError(
                f"keeps averages of the weights without their names ({path}); save them as a state dict of the net"
            )
    return _only(averages or others)


def _only(candidates: dict[str, State]) -> State | None:
    if len({id(state) for state in candidates.values()}) > 1:
        raise RefusedError(
            f"holds {len(candidates)} state dicts ({', '.join(list(candidates)[:_NAMED])}), and which is wanted is "
            "not known; save the one you mean in a file of its own"
        )
    return next(iter(candidates.values()), None)


def _unwrapped(state: State, where: str) -> State:
    """A state dict without the names and counters that wrappers of a net add."""
    short = {".".join(p for p in name.split(".") if p not in _TRANSPARENT): t for name, t in state.items()}
    state = short if len(short) == len(state) else state
    state = {name: t for name, t in state.items() if name not in _COUNTERS or t.dim()}
    for _ in range(_LEVELS):
        parts = _parts(state)
        if _are_copies(parts):
            averages = {f"{where}{part}": held for part, held in parts.items() if _is_average(part)}
            picked = _only(averages or {f"{where}{part}": held for part, held in parts.items()})
            common = set.intersection(*(set(held) for held in parts.values()))
            state = {name: t for name, t in (picked or {}).items() if name in common}
        elif len(parts) == 1 and _WRAPPERS.issuperset(parts) and next(iter(parts.values())):
            state = next(iter(parts.values()))
        else:
            break
    _check_averages(state, where)
    return state


def _check_averages(state: State, where: str) -> None:
    """Refuse averages that lie among other weights under other names: taken as one net, none of them would be used."""
    parts = {part: any(t.dim() for t in held.values()) for part, held in _parts(state).items()}
    averages = [f"{where}{part}" for part, held in parts.items() if held and _is_average(part)]
    if averages and len(averages) < len(parts):
        raise RefusedError(
            f"mixes averages of the weights ({averages[0]}) with other weights, under names that do not match; save them "
            "as a state dict of the net"
        )


def _parts(state: State) -> dict[str, State]:
    """Tensors by the first part of their names, then by the rest; nothing below a name without a second part."""
    found: dict[str, State] = {}
    for name, tensor in state.items():
        first, dot, rest = name.partition(".")
        held = found.setdefault(first, {})
        if dot:
            held[rest] = tensor
    return found


def _are_copies(parts: Mapping[str, State]) -> bool:
    """Whether several parts hold tensors of the same names: a net and its average, say."""
    names = {frozenset(name for name, t in held.items() if t.dim()) for held in parts.values()}
    return len(parts) > 1 and len(names) == 1 and len(next(iter(names))) > 1


def _is_state(found: Mapping[Any, Any]) -> bool:
    return bool(found) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())


def _flat(found: Mapping[Any, Any]) -> bool:
    """Whether a dict holds tensors among plain settings and counters."""
    return all(
        isinstance(k, str) and isinstance(v, Tensor | int | float | str | None) for k, v in found.items()
    ) and any(isinstance(v, Tensor) and v.dim() for v in found.values())


def _is_average(key: str) -> bool:
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    return not _AVERAGES.isdisjoint(words) and "exp" not in words  # exp_avg is an optimizer's


def _holds_tensors(value: Any, level: int) -> bool:
    """Whether tensors with dimensions lie in a container: not the decay rate of an average."""
    if isinstance(value, Tensor):
        return value.dim() > 0
    if level > 3 or not isinstance(value, list | tuple | dict):
        return False
    items = list(value.values()) if isinstance(value, dict) else list(value)
    return any(_holds_tensors(item, level + 1) for item in items[:_NAMED])


def _keys(found: Mapping[Any, Any]) -> str:
    held = sorted(key[:40] if isinstance(key, str) else type(key).__name__ for key in list(found)[:1000])
    return ", ".join(held[:_NAMED]) or "nothing"


def _check(name: str, tensor: Tensor, size: int) -> None:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise RefusedError(f"holds {name} as a tensor of an unusual kind")
    if tensor.dtype not in _TYPES:
        raise RefusedError(f"holds {name} as {tensor.dtype}, wanted float16, bfloat16, float32 or float64")
    if tensor.dim() > limits.RANK:
        raise RefusedError(f"holds {name} with {tensor.dim()} dimensions, wanted at most {limits.RANK}")
    if tensor.numel() * tensor.element_size() > size:
        raise RefusedError(f"holds {name} of shape {tuple(tensor.shape)}, more than the file's {size} bytes")
