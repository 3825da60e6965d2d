"""The density of the fractal tree and its score, exact at every noise level.

Source: Karras et al. 2024, arXiv:2406.02507, appendix C.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample
from guidelab.core.line_mixture import Lines, line_sums
from guidelab.core.mixture import Mixture
from guidelab.data.toy2d_tree import Shape, Tree, grown

_ROWS = 1024  # points worked on at a time: the intermediate arrays of 127 branches then stay in cache


@dataclass(frozen=True)
class Toy2d(Tree):
    """The tree with its log-density and score."""

    @cached_property
    def mixture(self) -> Mixture:
        """The same as a general mixture, in float32; `.mixture.to(torch.float64)` for float64."""
        return Mixture(self.weights, self.means, self.covs)

    @cached_property
    def lines(self) -> dict[torch.dtype, Lines]:
        """Branches as lines of equal Gaussians, in float32 and float64."""
        count = int((self.branch == self.branch[0]).sum())
        means = self.means.view(-1, count, 2)
        exact = Lines.build(
            self.weights[::count],
            means.mean(1),
            (means[:, -1] - means[:, 0]) / max(count - 1, 1),
            self.covs[::count],
            count,
            torch.float64,
        )
        return {dtype: exact.to(dtype) for dtype in (torch.float32, torch.float64)}

    def log_density(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Log-density of `x [B, 2]` at noise level `sigma` (`[B]` or one number); nats, `[B]`, never -inf."""
        return self._evaluate(x, sigma)[0]

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Gradient of `log_density` with respect to `x`, `[B, 2]`."""
        return self._evaluate(x, sigma)[1]

    def posterior_mean(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """`E[x0 | x]`: the ideal denoiser, `[B, 2]`; `cond` is not used (this object is one class, or both)."""
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        return x + per_sample(level, x) ** 2 * self.score(x, level)

    __call__ = posterior_mean

    def _evaluate(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        if x.ndim != 2 or x.shape[1] != 2 or x.dtype not in self.lines:
            raise ValueError(f"Toy2d: given {x.dtype} {tuple(x.shape)}, wanted float32 or float64 [B, 2]")
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        lines = self.lines[x.dtype]
        pieces = [
            line_sums(part, s, lines)
            for part, s in zip(torch.split(x, _ROWS), torch.split(level, _ROWS), strict=True)
        ]
        return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])


def fractal(classes: str = "A", shape: Shape | None = None) -> Toy2d:
    """The tree of some classes, `A`, `B` or `AB`; see `toy2d_tree.grown` (the paper's shape when None)."""
    return Toy2d(**vars(grown(classes, shape or Shape())))
