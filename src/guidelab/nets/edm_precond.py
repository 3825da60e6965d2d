"""The four preconditionings of EDM's table 1: each turns a raw network into `D(x, sigma)` and has its noise levels."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from guidelab.core.precond import Coefficients, coefficients
from guidelab.errors import UserError
from guidelab.nets.edm_layers import Precise


class EdmPrecond(Precise):
    """EDM's own: inputs, outputs and targets of the raw network have unit variance.

    Attributes:
        outputs_per_channel: channels of the raw network per image channel; the first are read.
    Source: Karras et al. 2022, arXiv:2206.00364, table 1, column "Ours".
    """

    outputs_per_channel = 1

    def __init__(self, sigma_data: float = 0.5, sigma_min: float = 0.0, sigma_max: float = math.inf) -> None:
        super().__init__()
        self.sigma_data, self.low, self.high = sigma_data, sigma_min, sigma_max

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Lowest and highest noise level the network is made for."""
        return self.low, self.high

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four coefficients at noise levels `sigma [B]`, each `[B]`."""
        return coefficients(sigma, self.sigma_data)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest noise levels the network knows, shape and dtype of `sigma`; most know all."""
        return sigma


class VpPrecond(EdmPrecond):
    """Variance preserving: the network estimates the noise, conditioned on the time in steps of 1/steps.

    Args:
        beta_d, beta_min: slope and start of the noise rate.
        steps: of the discrete process the network was trained for (EDM: M).
        epsilon_t: shortest time.
    Source: Song et al. 2021, arXiv:2011.13456; Karras et al. 2022, arXiv:2206.00364, table 1, column "VP".
    """

    def __init__(
        self, beta_d: float = 19.9, beta_min: float = 0.1, steps: int = 1000, epsilon_t: float = 1e-5
    ) -> None:
        self.beta_d, self.beta_min, self.steps = beta_d, beta_min, steps
        super().__init__(sigma_min=self.sigma_at(epsilon_t), sigma_max=self.sigma_at(1.0))

    def sigma_at(self, time: float) -> float:
        """Noise level at a time in (0, 1]."""
        return math.sqrt(math.expm1(0.5 * self.beta_d * time**2 + self.beta_min * time))

    def time_of(self, sigma: Tensor) -> Tensor:
        """Time of noise levels, same shape."""
        # log(1 + sigma^2) and not log1p: released networks were trained on the times that float32 makes of it
        log = (1 + sigma**2).log()
        return ((self.beta_min**2 + 2 * self.beta_d * log).sqrt() - self.beta_min) / self.beta_d

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """As in `EdmPrecond`."""
        c_noise = (self.steps - 1) * self.time_of(sigma)
        return Coefficients(torch.ones_like(sigma), -sigma, 1 / (sigma**2 + 1).sqrt(), c_noise)


class VePrecond(EdmPrecond):
    """Variance exploding: the network estimates the negative noise, conditioned on log(sigma / 2).

    Source: Song et al. 2021, arXiv:2011.13456; Karras et al. 2022, arXiv:2206.00364, table 1, column "VE".
    """

    def __init__(self, sigma_min: float = 0.02, sigma_max: float = 100.0) -> None:
        super().__init__(sigma_min=sigma_min, sigma_max=sigma_max)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """As in `EdmPrecond`."""
        one = torch.ones_like(sigma)
        return Coefficients(one, sigma, one, (0.5 * sigma).log())


class IddpmPrecond(EdmPrecond):
    """Improved DDPM with a cosine schedule: the network knows `steps` noise levels and estimates the noise.

    Its second half of output channels, the variance, is not read.

    Attributes:
        u: the noise levels, float32 `[steps + 1]`, descending to 0.
    Args:
        C_1: lower bound of the ratio of successive signal powers; `C_2`: offset of the cosine.
        steps: of the discrete process (EDM: M).
    Source: Nichol & Dhariwal 2021, arXiv:2102.09672; Karras et al. 2022, arXiv:2206.00364, table 1, column "iDDPM".
    """

    u: Tensor
    outputs_per_channel = 2

    def __init__(self, C_1: float = 0.001, C_2: float = 0.008, steps: int = 1000) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("u", cosine_levels(C_1, C_2, steps))

    @property
    def sigma_range(self) -> tuple[float, float]:
        """As in `EdmPrecond`; reads the table, so not within a loop on a device."""
        return float(self.u[self.steps - 1]), float(self.u[0])

    def index_of(self, sigma: Tensor) -> Tensor:
        """Position int64 of the nearest level in `u`, same shape as `sigma`."""
        return (sigma.to(self.u.dtype)[..., None] - self.u).abs().argmin(-1)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """As in `EdmPrecond`."""
        return self.u[self.index_of(sigma)].to(sigma.dtype)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """As in `EdmPrecond`; only the network's time input is rounded."""
        c_noise = (self.steps - 1 - self.index_of(sigma)).to(sigma.dtype)
        return Coefficients(torch.ones_like(sigma), -sigma, 1 / (sigma**2 + 1).sqrt(), c_noise)


def cosine_levels(C_1: float, C_2: float, steps: int) -> Tensor:
    """Noise levels of iDDPM's cosine schedule, float32 `[steps + 1]`: descending, the last one 0.

    The recursion is evaluated in float32, one level after the other, as the released table was: the lowest levels
    lose three digits in it, so an exact table would not be the one the networks were trained for.

    Source: Karras et al. 2022, arXiv:2206.00364, table 1, column "iDDPM".
    """
    turns = 0.5 * math.pi * torch.arange(steps + 1) / steps / (C_2 + 1)
    powers = turns.sin() ** 2  # signal power of each level, ascending
    ratios = (powers[:-1] / powers[1:]).clamp(min=C_1).unbind()
    level = torch.zeros(())
    levels = [level]
    for ratio in reversed(ratios):
        level = ((level**2 + 1) / ratio - 1).sqrt()
        levels.append(level)
    return torch.stack(levels[::-1])


PRECONDS: Mapping[str, type[EdmPrecond]] = {
    "edm": EdmPrecond,
    "vp": VpPrecond,
    "ve": VePrecond,
    "iddpm": IddpmPrecond,
}


def precond_of(name: str, options: Mapping[str, float]) -> EdmPrecond:
    """The preconditioning of a name, with constants other than the paper's.

    Raises:
        UserError: no preconditioning of this name, or no such constant.
    """
    if name not in PRECONDS:
        raise UserError(f"net edm: given precond {name!r}, wanted one of {', '.join(PRECONDS)}")
    try:
        return PRECONDS[name](**options)  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(
            f"net edm: precond_options {dict(options)} do not fit precond {name!r} ({error})"
        ) from error
