"""The small network of the 2D example: an unnormalised log-density whose gradient is the score.

Source: Karras et al. 2024, arXiv:2406.02507, appendix C (layers: EDM2, arXiv:2312.02696, appendix B).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

_EPS = 1e-4  # arXiv:2312.02696, released layers: keeps a zero weight from dividing by zero
_SILU_GAIN = 0.596  # root mean square of silu of a standard normal; arXiv:2312.02696, appendix B
_CELLS = 1 << 17  # activations of one layer evaluated at a time: they then stay in cache

Dropout = Callable[
    [int, Tensor, tuple[int, ...]], Tensor
]  # (hidden layer, sigma, shape) -> mask of that shape


def normalised(weight: Tensor) -> Tensor:
    """Rows of `weight [..., out, in]` scaled to a root mean square of 1. Source: arXiv:2312.02696, appendix B."""
    norm = torch.linalg.vector_norm(weight, dim=-1, keepdim=True)
    scaled: Tensor = weight / (_EPS + norm * weight.shape[-1] ** -0.5)
    return scaled


class MPLinear(nn.Module):
    """Magnitude-preserving linear layer without bias; the weight's scale has no effect."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=generator))


class MPSiLU(nn.Module):
    """Place of a magnitude-preserving SiLU in the stack; its arithmetic is in `energy_score`."""


def _hidden(
    first: Tensor, weights: Sequence[Tensor], sigma: Tensor, dropout: Dropout | None
) -> tuple[Tensor, list[Tensor]]:
    """Output of the stack `[..., B, h]`, and the slope of every hidden activation, to go back through it."""
    a, slopes = first, []
    for layer, weight in enumerate(weights):
        gate = torch.sigmoid(a)
        z = a * gate
        slope = torch.addcmul(gate, z, 1 - gate)  # silu'(a)
        if dropout is not None:
            mask = dropout(layer, sigma, tuple(z.shape))
            z, slope = z * mask, slope * mask
        slopes.append(slope)
        a = z @ weight.mT
    return a, slopes


def energy_score(
    weights: Sequence[Tensor],
    gain: Tensor,
    x: Tensor,
    sigma: Tensor,
    sigma_data: float,
    dropout: Dropout | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-density (up to a constant) and score, the gradient written out by hand.

    Written out, training needs one ordinary backward pass instead of a double one, and the whole step compiles.
    Everything may carry leading dimensions (several networks at once).

    Args:
        weights: raw weights `[..., out, in]`, first to last; the first has 4 inputs.
        gain: `[...]`.
        x: `[..., B, 2]`. sigma: `[..., B]`.
        sigma_data: standard deviation the inputs are scaled by.
        dropout: mask of the hidden activations, or None.
    Returns:
        log-density `[..., B]` and score `[..., B, 2]`.
    Source: arXiv:2406.02507, appendix C, eq. 14 with the sign of the released code (plus).
    """
    scale = (sigma * sigma + sigma_data**2).rsqrt()[..., None]  # [..., B, 1]
    scaled = x * scale
    inputs = torch.cat([scaled, sigma.log()[..., None] / 4, torch.ones_like(scale)], dim=-1)  # [..., B, 4]
    enter = normalised(weights[0]) * 0.5  # 1 / sqrt(4 inputs)
    inner = [normalised(w) * (w.shape[-1] ** -0.5 / _SILU_GAIN) for w in weights[1:]]
    y, slopes = _hidden(inputs @ enter.mT, inner, sigma, dropout)
    back = y
    for weight, slope in zip(reversed(inner), reversed(slopes), strict=True):
        back = (back @ weight) * slope
    factor = gain[..., None] / sigma  # [..., B]
    slope_in = back @ enter[..., :2]  # [..., B, 2]
    score = (slope_in * (factor * (2 / y.shape[-1]))[..., None] - scaled) * scale
    return factor * (y * y).mean(-1) - 0.5 * (scaled * scaled).sum(-1), score


class ToyDenoiser(nn.Module):
    """Energy-based denoiser in two dimensions: `D(x, sigma) = x + sigma^2 * score(x, sigma)`.

    Args:
        width: hidden units.
        layers: hidden layers.
        sigma_data: standard deviation the inputs are scaled by.
        generator: source of the initial weights; the global one when None.
    Source: arXiv:2406.02507, appendix C.
    """

    def __init__(
        self,
        width: int,
        layers: int = 4,
        sigma_data: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.sigma_data = width, layers, sigma_data
        stack: list[nn.Module] = [MPLinear(4, width, generator)]
        for _ in range(layers):
            stack += [MPSiLU(), MPLinear(width, width, generator)]
        self.layers = nn.Sequential(*stack)
        self.gain = nn.Parameter(torch.zeros(()))
        self.dropout: Dropout | None = None  # a deterministic mask, for networks degraded on purpose

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Log-density up to a constant that may depend on sigma; `x [B, 2]`, `sigma [B]`, nats, `[B]`."""
        return self._evaluate(x, sigma)[0]

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of `log_density` with respect to `x`, `[B, 2]`; differentiable again."""
        return self._evaluate(x, sigma)[1]

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Denoised `[B, 2]`; `cond` is not used: one network per class, or one for both."""
        return torch.addcmul(x, (sigma * sigma)[:, None], self.score(x, sigma))

    def functional(self, params: Mapping[str, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
        """Score with other parameters, which may be stacked: `[R, *shape]` with `x [R, B, 2]`, `sigma [R, B]`."""
        return energy_score(
            [params[name] for name in self.weight_names()],
            params["gain"],
            x,
            sigma,
            self.sigma_data,
            self.dropout,
        )[1]

    def constrained(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters as they are kept during training: weights normalised (EDM2's forced normalisation)."""
        names = set(self.weight_names())
        return {name: normalised(value) if name in names else value for name, value in params.items()}

    def weight_names(self) -> list[str]:
        """Names of the weights, first layer to last."""
        return [f"layers.{2 * index}.weight" for index in range(self.depth + 1)]

    def _evaluate(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 2 or x.shape[1] != 2 or sigma.shape != x.shape[:1]:
            raise ValueError(
                f"ToyDenoiser: given x {tuple(x.shape)}, sigma {tuple(sigma.shape)}; wanted [B, 2], [B]"
            )
        weights = [self.get_parameter(name).to(x.dtype) for name in self.weight_names()]
        gain = self.gain.to(x.dtype)
        rows = max(
            _CELLS // self.width if self.dropout is None else len(x), 1
        )  # a mask belongs to the whole batch
        pieces = [
            energy_score(weights, gain, part, s, self.sigma_data, self.dropout)
            for part, s in zip(torch.split(x, rows), torch.split(sigma, rows), strict=True)
        ]
        return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])
