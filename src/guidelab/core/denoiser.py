"""The denoiser protocol `D(x, sigma, cond)`, and small wrappers of it."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Wrapped = TypeVar("Wrapped")


class Denoiser(Protocol):
    """Posterior mean `D(x, sigma, cond) = E[x0 | x]` for `x = x0 + sigma * n`, `n` standard normal."""

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Map `x [B, *event]`, `sigma [B]` and `cond [B]` int64 (or None) to the denoised `[B, *event]`."""
        ...


def at_step(predict: Wrapped, sigma: float) -> Wrapped:
    """What `predict` is during the sampler step that starts at `sigma`.

    Anything that changes from step to step (a guidance interval, and any term that contains one) has a method
    `at_step(sigma)`; everything else is the same at every step and comes back as it is.

    Args:
        predict: a denoiser, or anything else a sampler calls.
        sigma: noise level the step starts from (the step's, not the evaluation's).
    """
    method: Callable[[float], Wrapped] | None = getattr(predict, "at_step", None)
    return predict if method is None else method(sigma)


def per_sample(value: Tensor, like: Tensor) -> Tensor:
    """Reshape one value per sample, `[B]`, to `[B, 1, ...]` so that it broadcasts against `like [B, *event]`."""
    return value.reshape(-1, *([1] * (like.ndim - 1)))


class Cast:
    """Evaluates `wrapped` in one dtype and answers in the dtype of `x`; see `cast`."""

    def __init__(self, wrapped: Callable[..., Tensor], dtype: torch.dtype) -> None:
        self.wrapped = wrapped
        self.dtype = dtype

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None, *more: Tensor) -> Tensor:
        """Call `wrapped` with `x`, `sigma` and `more` cast; `cond` goes through as it is."""
        lower = [tensor.to(self.dtype) for tensor in more]
        return self.wrapped(x.to(self.dtype), sigma.to(self.dtype), cond, *lower).to(x.dtype)

    def at_step(self, sigma: float) -> "Cast":
        """The same around what `wrapped` is at this step."""
        return Cast(at_step(self.wrapped, sigma), self.dtype)


def cast(wrapped: Callable[..., Tensor], dtype: torch.dtype) -> Cast:
    """Evaluate a denoiser (or a sampler's `correct`) in `dtype` while the sampler integrates in another.

    EDM keeps the state in float64 and evaluates the network in float32: `heun(cast(net, torch.float32), x64, ...)`.

    Args:
        wrapped: takes `(x, sigma, cond, ...)`.
        dtype: floating dtype its tensors are cast to.
    Source: Karras et al. 2022, arXiv:2206.00364 (released sampler).
    """
    return Cast(wrapped, dtype)
