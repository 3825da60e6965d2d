"""The protocol of a guidance method; only type checkers import this module."""

from typing import Protocol

from torch import Tensor


class Term(Protocol):
    """What one guidance method adds to the main denoiser's output."""

    @property
    def neutral(self) -> float:
        """Weight at which the term adds nothing."""
        ...

    @property
    def weight(self) -> float:
        """Strength of this term, in its own method's convention."""
        ...

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """The addition `[B, *event]` to `main_out [B, *event]`, the main denoiser's output at `(x, sigma, cond)`."""
        ...

    def at_step(self, sigma: float) -> "Term | None":
        """The term during the sampler step that starts at `sigma`; None where it is switched off."""
        ...
