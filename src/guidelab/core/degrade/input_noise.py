"""A denoiser degraded by extra noise on its input at sampling time."""

from torch import Tensor

from guidelab.core.degrade.hashed import hashed_normal, step_seeds
from guidelab.core.denoiser import Denoiser, at_step, per_sample


class InputNoise:
    """A denoiser whose input is noisier than its argument; see `input_noise`."""

    def __init__(
        self, predict: Denoiser, seeds: Tensor, relative: float, salt: int, step: float | None = None
    ) -> None:
        self.predict = predict
        self.seeds = seeds
        self.relative = relative
        self.salt = salt
        self._keyed = step_seeds(seeds, step)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Posterior mean `[B, *event]` of `predict` at the raised noise level."""
        raised = sigma * (1 + self.relative)
        extra = (raised**2 - sigma**2).sqrt()
        noise = hashed_normal(self._keyed, sigma, tuple(x.shape[1:]), self.salt).to(x)
        return self.predict(x + per_sample(extra, x) * noise, raised, cond)

    def at_step(self, sigma: float) -> "InputNoise":
        """The same with the noise of the step that starts at `sigma`."""
        return InputNoise(at_step(self.predict, sigma), self.seeds, self.relative, self.salt, sigma)


def input_noise(predict: Denoiser, seeds: Tensor, relative: float, salt: int) -> InputNoise:
    """Degrade a denoiser by raising its input's noise: `D(x + sqrt(s'^2 - s^2) n, s')` with `s' = (1 + relative) s`.

    Args:
        predict: the denoiser.
        seeds: seeds `[B]` int64 of the samples it will be called with, in their order.
        relative: by how much the noise level is raised (0.1 for 10 %).
        salt: distinguishes independent degradations.
    Raises:
        ValueError: `relative` is negative.
    Source: Karras et al. 2024, arXiv:2406.02507, section 4.
    """
    if relative < 0:
        raise ValueError(f"input_noise: given relative={relative}, wanted 0 or more")
    return InputNoise(predict, seeds, relative, salt)
