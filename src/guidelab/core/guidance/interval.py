"""Restrict guidance to an interval of noise levels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from guidelab.core.guidance.term import Term


@dataclass(frozen=True)
class Interval:
    """`term`, switched on for the sampler steps whose sigma lies in `(lo, hi]` and off elsewhere.

    The step decides, not the evaluation: both evaluations of a Heun step see the same guidance.

    Args:
        term: any guidance term.
        lo, hi: noise levels, `0 <= lo < hi`.
    Raises:
        ValueError: an empty interval.
    Source: Kynkaanniemi et al. 2024, arXiv:2404.07724 (its sampler tests the step index).
    """

    term: "Term"
    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not 0 <= self.lo < self.hi:
            raise ValueError(f"Interval: given lo={self.lo}, hi={self.hi}; wanted 0 <= lo < hi")

    @property
    def neutral(self) -> float:
        """Neutral weight of the term inside."""
        return self.term.neutral

    @property
    def weight(self) -> float:
        """Weight of the term inside, where it is on."""
        return self.term.weight

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """Refused: an evaluation's sigma does not say which step it belongs to.

        Raises:
            ValueError: always; resolve the denoiser with `at_step(sigma)` first, as the sampler does.
        """
        raise ValueError(
            f"Interval({self.lo}, {self.hi}]: evaluated outside a sampler step; an interval is decided by the step's "
            "sigma. Call `at_step(sigma)` of the guided denoiser (`Guided`) first and evaluate its result."
        )

    def at_step(self, sigma: float) -> "Term | None":
        """The term inside where `lo < sigma <= hi`, else None."""
        return self.term.at_step(sigma) if self.lo < sigma <= self.hi else None
