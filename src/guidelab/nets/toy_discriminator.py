"""A small time-conditioned discriminator for two-dimensional data."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.core.denoiser import per_sample

_SIGMA_DATA = 0.5  # standard deviation of the data, as in the denoisers (arXiv:2406.02507, appendix C)
_SCALES = (
    7  # octaves of the position's Fourier features: with 4, twigs were invisible and held-out JS was a tenth
)


class ToyDiscriminator(nn.Module):
    """Logit of real against generated, `log d / (1 - d)`, at a noise level: an estimate of `log p/q` there.

    It takes points in sigma's units and preconditions inside, so that autograd through it gives the gradient with
    respect to the points themselves.

    Args:
        width: hidden units.
        layers: hidden layers.
        generator: source of the initial weights.
    Source: the role, Kim et al. 2023, arXiv:2211.17091; the network is ours.
    """

    def __init__(self, width: int, layers: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        inputs = 2 + 4 * _SCALES + 3
        sizes = [inputs, *[width] * layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.out = nn.Linear(width, 1)
        with torch.no_grad():
            for layer in [*self.hidden, self.out]:
                bound = 1 / math.sqrt(layer.weight.shape[1])  # type: ignore[arg-type, operator]
                for parameter in layer.parameters():
                    parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
            self.out.weight.zero_()  # an untrained discriminator guides nowhere
            self.out.bias.zero_()

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Logit `[B]` at `x [B, 2]` and noise levels `sigma [B]`; `cond` is not used."""
        level = per_sample(sigma.to(x.dtype), x)  # [B, 1]
        scaled = x / torch.sqrt(level**2 + _SIGMA_DATA**2)
        log_level = level.log() / 4
        # A frequency is seen only where noise has not washed it out, as the smoothed density itself behaves.
        waves = []
        for octave in range(_SCALES):
            frequency = math.pi * 2.0**octave
            seen = torch.exp(-0.5 * (frequency * level / torch.sqrt(level**2 + _SIGMA_DATA**2)) ** 2)
            waves += [torch.sin(frequency * scaled) * seen, torch.cos(frequency * scaled) * seen]
        h = torch.cat([scaled, *waves, log_level, log_level**2, torch.tanh(log_level)], dim=1)
        for layer in self.hidden:
            h = functional.silu(layer(h))
        logit: Tensor = self.out(h)[:, 0]
        return logit
