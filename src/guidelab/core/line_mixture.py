"""Two-dimensional mixtures made of lines of equal Gaussians: the same numbers as `Mixture`, many times faster.

All Gaussians of one line share weight and covariance, and their means are equally spaced. So, seen from a point,
they differ only in `c (t_j - t*)^2`, a parabola in the position along the line: the eight (or any number of)
densities of a line are a recurrence of multiplications from two exponentials, and its part of the score needs
only their sum and their mean position.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_PAD = 16  # lines are padded to whole vector registers (AVX-512 holds 16 floats)
_NATS = 80.0  # largest exponent kept clear of float32's limit of 88


@dataclass(frozen=True)
class Lines:
    """Constants of every line, each `[R]`; `count` Gaussians per line.

    With step `v` between neighbouring means and covariance `S` (adjugate `adj S = det(S) S^-1`).
    """

    count: int
    log_weight: Tensor  # of one Gaussian; -inf is never used: padding has a very small weight
    mid_x: Tensor  # centre of the line
    mid_y: Tensor
    step_x: Tensor  # v
    step_y: Tensor
    cov_xx: Tensor  # S
    cov_xy: Tensor
    cov_yy: Tensor
    var_0: Tensor  # eigenvalues of S
    var_1: Tensor
    pull_x: Tensor  # adj(S) v
    pull_y: Tensor
    stiff: Tensor  # v' adj(S) v
    length: Tensor  # v' v

    @classmethod
    def build(
        cls, weights: Tensor, mids: Tensor, steps: Tensor, covs: Tensor, count: int, dtype: torch.dtype
    ) -> Self:
        """Constants from per-line `weights [R]` (of one Gaussian), `mids [R, 2]`, `steps [R, 2]`, `covs [R, 2, 2]`.

        Raises:
            ValueError: neighbours lie so many standard deviations apart that the recurrence would overflow.
        """
        extra = -len(weights) % _PAD
        eye = torch.eye(2, dtype=torch.float64)
        # padding weighs nothing, however far every real line is: -1e30 and not -inf, which would give inf - inf
        log_weights = torch.nn.functional.pad(weights.double().log(), (0, extra), value=-1e30)
        mids = torch.cat([mids.double(), mids.double()[:1].expand(extra, 2)])
        steps = torch.cat([steps.double(), steps.double()[:1].expand(extra, 2)])
        covs = torch.cat([covs.double(), eye.expand(extra, 2, 2)])
        adjugate = covs.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * eye - covs
        pull = (adjugate @ steps[:, :, None])[:, :, 0]
        stiff = (pull * steps).sum(1)
        reach = (stiff / torch.linalg.det(covs)).max() * (count - 1) ** 2 / 8
        if reach > _NATS:
            raise ValueError(
                f"Lines: neighbouring means are too many standard deviations apart ({reach:.0f} nats along a line, "
                f"at most {_NATS:.0f}); use Mixture"
            )
        values = (
            log_weights, mids[:, 0], mids[:, 1], steps[:, 0], steps[:, 1],
            covs[:, 0, 0], covs[:, 0, 1], covs[:, 1, 1], *torch.linalg.eigvalsh(covs).unbind(1),
            pull[:, 0], pull[:, 1], stiff, (steps * steps).sum(1),
        )  # fmt: skip
        return cls(count, *(value.to(dtype).contiguous() for value in values))

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> Self:
        """The same constants in another floating dtype, and on another device where one is given."""
        tensors = list(vars(self).values())[1:]
        return type(self)(self.count, *(tensor.to(device, dtype) for tensor in tensors))


def line_sums(x: Tensor, sigma: Tensor, lines: Lines) -> tuple[Tensor, Tensor]:
    """Log-density and score of a mixture of lines.

    Pure tensor arithmetic, differentiable, and one kernel under `torch.compile`.

    Args:
        x: `[B, 2]`.
        sigma: noise level, `[B]`.
        lines: constants, in the dtype of `x`.
    Returns:
        log-density `[B]` in nats, and its gradient with respect to `x`, `[B, 2]`.
    """
    s2 = (sigma * sigma)[:, None]  # [B, 1]; everything below is [B, R]
    dx = x[:, 0:1] - lines.mid_x
    dy = x[:, 1:2] - lines.mid_y
    # P = (S + s^2)^-1 = (adj S + s^2) / det; c = v'Pv; t* = v'Pu / c in steps from the centre
    inverse_det = 1 / ((lines.var_0 + s2) * (lines.var_1 + s2))
    norm = lines.stiff + lines.length * s2  # c * det
    inverse_norm = 1 / norm
    c = norm * inverse_det
    place = ((lines.pull_x + s2 * lines.step_x) * dx + (lines.pull_y + s2 * lines.step_y) * dy) * inverse_norm
    across = lines.step_x * dy - lines.step_y * dx
    residual = across * across * inverse_norm  # u'Pu minus its part along the line, without cancellation
    # by symmetry count the Gaussians from the end nearest to the point: k = 0 .. count-1
    side = torch.where(place < 0, -1.0, 1.0).to(x.dtype)
    beyond = side * place - (lines.count - 1) / 2  # > 0: past the end
    base = lines.log_weight + 0.5 * torch.log(inverse_det) - 0.5 * residual
    bound = base - 0.5 * c * beyond.clamp_min(0) ** 2  # at least the largest exponent, at most c/8 above it
    top = bound.detach().amax(dim=1, keepdim=True)  # [B, 1]
    first = torch.exp(base - 0.5 * c * beyond * beyond - top)
    # w_k / w_0 = exp(-k c beyond - c k^2 / 2)
    half = torch.exp(-0.5 * c)
    square = half * half
    ratio = torch.exp(-c * beyond) * half
    weight = torch.ones_like(ratio)
    total, moment = weight, torch.zeros_like(ratio)
    for k in range(1, lines.count):
        weight = weight * ratio
        ratio = ratio * square
        total = total + weight
        moment = moment + k * weight
    mean = side * ((lines.count - 1) / 2 - moment / total)  # mean position of the line's Gaussians, in steps
    gap_x = mean * lines.step_x - dx
    gap_y = mean * lines.step_y - dy
    mass = first * total
    scaled = mass * inverse_det
    sum_mass = mass.sum(1)
    sum_x = (scaled * ((lines.cov_yy + s2) * gap_x - lines.cov_xy * gap_y)).sum(1)
    sum_y = (scaled * ((lines.cov_xx + s2) * gap_y - lines.cov_xy * gap_x)).sum(1)
    log_density = top[:, 0] + torch.log(sum_mass) - math.log(2 * math.pi)
    return log_density, torch.stack([sum_x, sum_y], dim=1) / sum_mass[:, None]
