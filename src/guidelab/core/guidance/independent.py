"""Independent-condition guidance: the reference is the conditional net, given a class drawn independently of the sample."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from guidelab.core.degrade import hashed_uniform
from guidelab.core.denoiser import Denoiser, at_step

_SALT = 240702687  # keeps these draws apart from every other use of the hash
_WRAPPERS = ("wrapped", "predict", "main", "net")  # under what names denoisers hold the one they wrap


@dataclass(frozen=True)
class Independent:
    """`D = D0 + w (D1 - D0)` with `D0 = ref(x, sigma, c')`, `c'` independent of `x`; neutral at `w = 1`.

    A conditional net stands in for an unconditional one, which need not be trained. The class `c'` is hashed from
    the step's noise level and the sample's own class only, uniform over the classes (the sample's own included, as
    in the source): the same in any batch, the same for every weight, another at every step. Samples of one class
    share it, and both evaluations of a Heun step do.

    Args:
        ref: a conditional denoiser with an attribute `classes`, itself or inside wrappers; usually the main one.
        weight: `w`.
        level: noise level of the sampler step, set by `at_step`; None takes that of each evaluation.
    Source: Sadat et al. 2024, arXiv:2407.02687, algorithm 1 (a class drawn anew at every step).
    """

    ref: Denoiser
    weight: float
    level: float | None = None
    neutral: ClassVar[float] = 1.0

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """`(w - 1)(D1 - D0)`, shaped like `main_out [B, *event]`.

        Raises:
            ValueError: no condition was given, or the reference does not say how many classes it knows.
        """
        if cond is None:
            raise ValueError("Independent: given no condition, wanted the class of every sample")
        step = sigma if self.level is None else torch.full_like(sigma, self.level)
        other = independent_class(step, cond, classes_of(self.ref))
        return (self.weight - 1.0) * (main_out - self.ref(x, sigma, other))

    def at_step(self, sigma: float) -> "Independent":
        """The same at one sampler step: its class does not change between the step's evaluations."""
        return Independent(at_step(self.ref, sigma), self.weight, sigma)


def independent_class(sigma: Tensor, cond: Tensor, classes: int) -> Tensor:
    """A class `[B]` int64 below `classes`, a function of the noise level `[B]` and the sample's class `[B]` alone."""
    uniform = hashed_uniform(cond.to(torch.int64), sigma, (), _SALT)
    return (uniform * classes).to(torch.int64).clamp_max(classes - 1)


def classes_of(ref: Any) -> int:
    """How many classes a denoiser knows: its attribute `classes`, or that of what it wraps.

    Raises:
        ValueError: neither it nor anything it wraps says, or it is unconditional.
    """
    seen: Any = ref
    while seen is not None:
        classes = getattr(seen, "classes", None)
        if classes is not None:
            if int(classes) < 1:
                raise ValueError("Independent: its reference is unconditional; wanted a conditional net")
            return int(classes)
        seen = next(
            (getattr(seen, name) for name in _WRAPPERS if getattr(seen, name, None) is not None), None
        )
    raise ValueError(
        f"Independent: {type(ref).__name__} does not say how many classes it knows; wanted an attribute `classes`"
    )
