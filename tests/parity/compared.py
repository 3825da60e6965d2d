"""What a family computes, and its comparison with the reference value."""

from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT32 = 1e-5  # relative to the magnitude of a sample
FLOAT64 = 1e-9
_MOST = 0.5  # a comparison that excuses more than this share of its values is not one


@dataclass(frozen=True)
class Output:
    """One output of ours, under the name it has in the reference file.

    Attributes:
        tolerance: relative to the magnitude of each sample of the reference, see `_magnitude`.
        allowance: absolute, broadcasts: how far rounding moves the *reference* itself, where that is more.
        samples: the dimension that counts independent samples; None where the output is one quantity.
    """

    name: str
    value: Tensor
    tolerance: float
    allowance: Tensor | float = 0.0
    samples: int | None = 0

    def disagreement(self, reference: Tensor) -> tuple[float, float]:
        """Largest relative error, and largest error in units of what is allowed (above 1, or nan, is a failure).

        Only finite reference values are compared; ours must be finite everywhere.
        """
        if self.value.shape != reference.shape:
            shapes = f"ours has shape {tuple(self.value.shape)}, the reference {tuple(reference.shape)}"
            raise ValueError(f"{self.name}: {shapes}")
        known = torch.isfinite(reference)
        if not torch.isfinite(self.value).all() or not known.any():
            return float("nan"), float("inf")
        magnitude = _magnitude(reference.double().where(known, 0.0), self.samples)[known]
        allowance = torch.as_tensor(self.allowance, dtype=torch.float64).expand(reference.shape)[known]
        difference = (self.value.double() - reference.double())[known].abs()
        relative = float((difference / magnitude.clamp_min(1e-300)).max())
        if (allowance > self.tolerance * magnitude).double().mean() > _MOST:
            return relative, float("inf")
        allowed = (self.tolerance * magnitude + allowance).clamp_min(1e-300)
        return relative, float((difference / allowed).max())


def _magnitude(reference: Tensor, samples: int | None) -> Tensor:
    """What an error of each value is relative to, shaped like `reference`: the sample's own largest value.

    Not that of the whole output: one trajectory that explodes would hide errors of all others. At least the median
    over samples, since a sample near zero is known no better than its neighbours.
    """
    if samples is None or reference.ndim == 0:
        return reference.abs().max().expand(reference.shape)
    others = [d for d in range(reference.ndim) if d != samples]
    own = reference.abs().amax(others, keepdim=True) if others else reference.abs()
    return torch.maximum(own, own.median()).expand(reference.shape)
