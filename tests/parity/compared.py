"""What a family computes, and its comparison with the reference value."""

from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT32 = 1e-5  # relative to the largest magnitude of an output
FLOAT64 = 1e-9
_MOST = 0.5  # a comparison that excuses more than this share of its values is not one


@dataclass(frozen=True)
class Output:
    """One output of ours, under the name it has in the reference file.

    Attributes:
        tolerance: relative to the largest finite magnitude of the reference.
        allowance: absolute, broadcasts: how far rounding moves the *reference* itself, where that is more.
    """

    name: str
    value: Tensor
    tolerance: float
    allowance: Tensor | float = 0.0

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
        largest = reference[known].abs().max().double()
        allowance = torch.as_tensor(self.allowance, dtype=torch.float64).expand(reference.shape)[known]
        difference = (self.value.double() - reference.double())[known].abs()
        if (allowance > self.tolerance * largest).double().mean() > _MOST:
            return float(difference.max() / largest), float("inf")
        allowed = (self.tolerance * largest + allowance).clamp_min(1e-300)
        return float(difference.max() / largest.clamp_min(1e-300)), float((difference / allowed).max())
