"""Arithmetic and memory of every registered net, counted by running it once on shapes alone (torch's meta device).

One multiply-add is 2 FLOP; matrix products, convolutions and attention count, the rest does not. Published "Gflops"
of EDM2 and DiT count a multiply-add as 1.
"""

import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from guidelab import registry
from guidelab.errors import UserError

_TOY_EVENT = (2,)  # points in the plane
_BATCHES = (8, 16)  # what memory grows by between them is the images' own


@dataclass(frozen=True)
class Count:
    """What one evaluation of a net on one image takes.

    Attributes:
        forward: FLOP of an evaluation.
        frozen: its part in a frozen extractor, which training does not go back through.
        gradient: FLOP of an evaluation and its gradient with respect to the input, parameters frozen.
        parameters: how many numbers the net has, buffers left out; `trained`, how many of them training moves.
        held_bytes: bytes the net keeps between evaluations beside its parameters (normalised weights).
        live_bytes: most bytes of activations alive at once during an evaluation, float32.
        kept_bytes: bytes a training step keeps of an image for the way back, float32. Both hold attention's matrix of
            tokens by tokens, which the kernels of a GPU do without: an upper bound.
    """

    forward: float
    frozen: float
    gradient: float
    parameters: int
    trained: int
    held_bytes: int
    live_bytes: int
    kept_bytes: int

    @property
    def training(self) -> float:
        """FLOP per image of a training step: the way back costs two evaluations of what is trained."""
        return self.frozen + 3 * (self.forward - self.frozen)


def count(config: Mapping[str, Any]) -> Count:
    """Count a net from its name and constructor arguments, once per configuration.

    Args:
        config: `name` and the arguments the net's checkpoint would carry.
    Raises:
        UserError: no such net, or arguments that do not fit it.
    """
    return _count(json.dumps(config, sort_keys=True))


@cache
def _count(text: str) -> Count:
    config = json.loads(text)
    net = _build(dict(config))
    event = (
        (config["image_channels"], *[config["resolution_px"]] * 2)
        if "image_channels" in config
        else _TOY_EVENT
    )
    with torch.no_grad():
        first = _Live(net)
        with first:
            forward = _flop(net, event)
        live = [_live(net, event, batch) for batch in _BATCHES]
        frozen = _frozen(net, event)
    parameters = list(net.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    kept = [_kept(net, event, batch) for batch in _BATCHES]
    net.requires_grad_(False)
    return Count(
        forward=forward,
        frozen=frozen,
        gradient=_flop(net, event, back=True),
        parameters=sum(p.numel() for p in parameters),
        trained=trained,
        held_bytes=first.now,
        live_bytes=(live[1] - live[0]) // (_BATCHES[1] - _BATCHES[0]),
        kept_bytes=(kept[1] - kept[0]) // (_BATCHES[1] - _BATCHES[0]),
    )


def _build(config: dict[str, Any]) -> nn.Module:
    name = config.pop("name")
    make = registry.load("net", name)
    try:
        with torch.device("meta"):
            net: nn.Module = make(**config)
    except (TypeError, ValueError) as error:
        raise UserError(f"net {name}: {error}; given {config}. Mend it in params.yaml.") from error
    return net.to("meta").eval()  # tables a constructor makes elsewhere follow


Call = Callable[[Tensor, Tensor, Tensor], Tensor]


def _arguments(event: tuple[int, ...], batch: int = 1, wanted: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.zeros((batch, *event), device="meta", requires_grad=wanted)
    return x, torch.ones(batch, device="meta"), torch.zeros(batch, dtype=torch.int64, device="meta")


def _flop(call: Call, event: tuple[int, ...], back: bool = False) -> float:
    """FLOP of one call, and of its way back to the input."""
    arguments = _arguments(event, wanted=back)
    with FlopCounterMode(display=False) as counter:
        out = call(*arguments)
        if back and out.requires_grad:
            out.sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())


def _frozen(net: nn.Module, event: tuple[int, ...]) -> float:
    """FLOP of the frozen extractor a discriminator stands on, 0 without one."""
    if not isinstance(getattr(net, "extractor", None), nn.Module):
        return 0.0
    return _flop(lambda x, sigma, cond: net.extract(x, sigma), event)  # type: ignore[operator]


def _live(net: nn.Module, event: tuple[int, ...], batch: int) -> int:
    live = _Live(net)
    with live:
        net(*_arguments(event, batch))
    return live.most


def _kept(net: nn.Module, event: tuple[int, ...], batch: int) -> int:
    """Bytes saved for the way back, each memory once; the difference of two batches is an image's own."""
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # no memory may be given out twice while it is counted

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = net(*_arguments(event, batch))
    del out
    return sum(sizes.values())


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows how many bytes of intermediate results are alive, and the most there ever were."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._users = {
            t.untyped_storage()._cdata: 1 for t in (*net.parameters(), *net.buffers())
        }  # not results

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        return out

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._users.get(key):
            self._users[key] = 0
            self.now += size
            self.most = max(self.most, self.now)
        self._users[key] += 1
        weakref.finalize(tensor, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            self.now -= size
