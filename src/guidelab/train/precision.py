"""Device, mixed precision and optimiser of a network in training."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.errors import UserError
from guidelab.train.adam import Adam
from guidelab.train.loop import State
from guidelab.train.noisy import NoisyBatch

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_SCALE = 1024.0  # of the gradients inside a float16 net, which are those of a mean


@dataclass(frozen=True)
class Precision:
    """Where and how a network is evaluated.

    Attributes:
        device: the device.
        name: `float32`, `bfloat16` or `float16`; on a CPU always float32.
    """

    device: torch.device
    name: str = "float32"

    @property
    def half(self) -> torch.dtype | None:
        """The low precision, if any is used."""
        return _HALF.get(self.name) if self.device.type == "cuda" else None

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """Context of a forward pass."""
        return torch.autocast("cuda", self.half) if self.half else contextlib.nullcontext()

    def here(self, tensor: Tensor) -> Tensor:
        """A tensor on the device; the copy runs while the device computes."""
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def moved(self, images: NoisyBatch) -> NoisyBatch:
        """Noisy images on the device."""
        labels = None if images.labels is None else self.here(images.labels)
        return NoisyBatch(self.here(images.x), self.here(images.sigma), labels)


class NetInTraining:
    """A network in training on a device: steps of Adam on a state that may have been loaded from a file.

    Args:
        net: moved to the device.
        precision: where and how.
        lr, weight_decay, decoupled: of `Adam`.
    """

    def __init__(
        self, net: nn.Module, precision: Precision, lr: float, weight_decay: float, decoupled: bool = False
    ) -> None:
        self.net, self._precision = net.to(precision.device), precision
        self.adam = Adam(net, lr, weight_decay, decoupled)
        self._scale = _SCALE if precision.half == torch.float16 else 1.0
        if self._scale != 1:
            for p in self.adam.params.values():
                p.register_hook(lambda slope: slope / self._scale)  # type: ignore[no-untyped-call]

    def step(self, state: State, loss: Callable[[], Tensor], lr_factor: float = 1.0) -> tuple[State, Tensor]:
        """One step down `loss()`; see `Adam.step`."""
        weights = next(value for name, value in state.items() if name.startswith("param/"))
        if weights.device != self._precision.device:
            state = {
                name: value if name == "steps" else value.to(self._precision.device)
                for name, value in state.items()
            }
        return self.adam.step(state, lambda: self._scaled(loss()), lr_factor)

    def weights(self) -> State:
        """All parameters and buffers of the net, copied to the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.net.state_dict().items()}

    def _scaled(self, loss: Tensor) -> Tensor:
        if self._scale == 1:
            return loss
        fixed = loss.detach()
        return fixed + (loss - fixed) * self._scale


def finite(held_out: float, what: str) -> float:
    """A held-out loss, unchanged.

    Raises:
        UserError: it is not finite: an earlier snapshot would silently count as the best one.
    """
    if not math.isfinite(held_out):
        raise UserError(
            f"{what}: the held-out loss is {held_out}. Give `train: {{precision: bfloat16}}` or float32, or a lower lr; "
            "training continues from its last saved state."
        )
    return held_out
