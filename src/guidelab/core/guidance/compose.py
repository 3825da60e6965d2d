"""Terms that add: any number of guidance terms around one main denoiser."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step

if TYPE_CHECKING:
    from guidelab.core.guidance.term import Term


def _active(terms: Sequence["Term"]) -> tuple["Term", ...]:
    """The terms that add anything: those away from their neutral weight."""
    return tuple(term for term in terms if term.weight != term.neutral)


def _at_step(terms: Sequence["Term"], sigma: float) -> list["Term"]:
    """The terms that are on during the step that starts at `sigma`."""
    stepped = (term.at_step(sigma) for term in terms)
    return [term for term in stepped if term is not None]


class Guided:
    """Guided denoiser `D = D1 + sum_i (w_i - 1)(D1 - D_i) + sum_j v_j sigma^2 grad_x log g_j`.

    Terms at their neutral weight are dropped: the result is then the main denoiser's, bit for bit, at its cost.

    Source: Karras et al. 2024, arXiv:2406.02507, eq. 6 (reference terms).
    """

    def __init__(self, main: Denoiser, terms: Sequence["Term"]) -> None:
        self.main = main
        self.terms = _active(terms)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Guided posterior mean `[B, *event]` at `x [B, *event]`, `sigma [B]`, `cond [B]` or None."""
        main_out = self.main(x, sigma, cond)
        guided = main_out
        for term in self.terms:
            guided = guided + term.delta(x, sigma, cond, main_out)
        return guided

    def at_step(self, sigma: float) -> "Guided":
        """The same with everything inside it resolved for the step that starts at `sigma`."""
        return Guided(at_step(self.main, sigma), _at_step(self.terms, sigma))


class Correction:
    """Sum of terms for a sampler's `correct`: guidance that acts in the first evaluation of a step only.

    Heun averages the slopes of both evaluations, so a weight here acts as half of it.

    Source: Kim et al. 2023, arXiv:2211.17091 (first-order weight 2, second-order weight 0).
    """

    def __init__(self, terms: Sequence["Term"]) -> None:
        self.terms = _active(terms)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """The addition `[B, *event]` to `main_out`."""
        total = torch.zeros_like(main_out)
        for term in self.terms:
            total = total + term.delta(x, sigma, cond, main_out)
        return total

    def at_step(self, sigma: float) -> "Correction":
        """The terms that are on during the step that starts at `sigma`."""
        return Correction(_at_step(self.terms, sigma))
