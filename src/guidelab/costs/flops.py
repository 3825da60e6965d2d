"""Arithmetic and memory of every registered net, counted by running it once on shapes alone (torch's meta device).

One multiply-add is 2 FLOP; matrix products, convolutions and attention count, the rest does not. Published "Gflops"
of EDM2 and DiT count a multiply-add as 1.
"""

import json
import weakref
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from guidelab import registry
from guidelab.nets.build import build

_TOY_EVENT = (2,)  # points in the plane
_BATCHES = (8, 16)  # what memory grows by between them is the images' own


class Count:
    """FLOP and memory of one evaluation of a net on one image; each number is counted at its first use.

    Args:
        config: `name` and the arguments the net's checkpoint would carry.
    Attributes:
        parameters: how many numbers the net has, buffers left out; `trained`, how many of them training moves.
    Raises:
        UserError: no such net, or arguments that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._net = _build(dict(config))
        images = "image_channels" in config
        self._event = (config["image_channels"], *[config["resolution_px"]] * 2) if images else _TOY_EVENT
        sizes = [(p.numel(), p.requires_grad) for p in self._net.parameters()]
        self.parameters = sum(size for size, _ in sizes)
        self.trained = sum(size for size, moved in sizes if moved)

    @cached_property
    def forward(self) -> float:
        """FLOP of an evaluation."""
        with torch.no_grad():
            return _flop(self._net, self._event)

    @cached_property
    def frozen(self) -> float:
        """Its part in a frozen extractor, which training does not go back through; 0 without one."""
        net = self._net
        if not isinstance(getattr(net, "extractor", None), nn.Module):
            return 0.0
        with torch.no_grad():
            return _flop(lambda x, sigma, cond: net.extract(x, sigma), self._event)  # type: ignore[operator]

    @cached_property
    def gradient(self) -> float:
        """FLOP of an evaluation and its gradient with respect to the input, parameters frozen."""
        moved = [p for p in self._net.parameters() if p.requires_grad]
        self._net.requires_grad_(False)
        try:
            return _flop(self._net, self._event, back=True)
        finally:
            for parameter in moved:
                parameter.requires_grad_(True)

    @property
    def training(self) -> float:
        """FLOP per image of a training step: the way back costs two evaluations of what is trained."""
        return self.frozen + 3 * (self.forward - self.frozen)

    @cached_property
    def held_bytes(self) -> int:
        """Bytes the net keeps between evaluations besides its parameters (normalised weights)."""
        with torch.no_grad():
            return _followed(self._net, self._event, 1, fresh=True).now

    @cached_property
    def live_bytes(self) -> int:
        """Most bytes of activations of an image alive at once during an evaluation, float32."""
        with torch.no_grad():
            self._net(*_arguments(self._event))  # what is kept between evaluations is there
            most = [_followed(self._net, self._event, batch).most for batch in _BATCHES]
        return (most[1] - most[0]) // (_BATCHES[1] - _BATCHES[0])

    @cached_property
    def kept_bytes(self) -> int:
        """Bytes a training step keeps of an image for the way back, float32.

        As `live_bytes` it holds attention's matrix of tokens by tokens, which the kernels of a GPU do without.
        """
        kept = [_kept(self._net, self._event, batch) for batch in _BATCHES]
        return (kept[1] - kept[0]) // (_BATCHES[1] - _BATCHES[0])


def count(config: Mapping[str, Any]) -> Count:
    """The counts of a net, made once for every configuration."""
    return _count(json.dumps(config, sort_keys=True))


@cache
def _count(text: str) -> Count:
    return Count(json.loads(text))


def _build(config: dict[str, Any]) -> nn.Module:
    name = config.pop("name")
    make = registry.load("net", name)
    with torch.device("meta"):
        net = build(make, name, config)
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


def _followed(net: nn.Module, event: tuple[int, ...], batch: int, fresh: bool = False) -> "_Live":
    """One evaluation with its memory followed; `fresh`, from a net that keeps nothing yet."""
    if fresh:
        net.train().eval()
    live = _Live(net)
    with live:
        net(*_arguments(event, batch))
    return live


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
