"""Laws with exact ratios and scores for the tests of the divergence estimators: a line, and a plane."""

import numpy as np
from exact import Blend
from exact import data as plane_data
from exact import model as plane_model

from guidelab.metrics.quadrature1d import Mixture1D

LINE_P = Mixture1D((0.6, 0.4), (-1.0, 1.2), (0.3, 0.4))
LINE_Q = Mixture1D((0.5, 0.5), (-0.8, 1.0), (0.35, 0.5))
PLANE_P, PLANE_Q = plane_data(), plane_model()


def draw_line(law: Mixture1D, rng: np.random.Generator, n: int) -> np.ndarray:
    """[n] points at sigma = 0."""
    part = rng.choice(len(law.weights), n, p=law.weights)
    return np.asarray(law.means)[part] + np.asarray(law.stds)[part] * rng.standard_normal(n)


def at_levels(function, x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """`Mixture1D.score` or `.log_density` at points with a noise level each: the level becomes a mixture's width."""
    law = function.__self__
    variance = np.square(law.stds) + sigma[..., None] ** 2
    offset = np.asarray(law.means) - x[..., None]
    log_parts = np.log(law.weights) - 0.5 * (offset**2 / variance + np.log(2 * np.pi * variance))
    top = log_parts.max(-1, keepdims=True)
    mass = np.exp(log_parts - top)
    if function.__name__ == "log_density":
        return top[..., 0] + np.log(mass.sum(-1))
    return (mass * offset / variance).sum(-1) / mass.sum(-1)


def line_gap(x: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(p/q) and s_p - s_q."""
    ratio = at_levels(LINE_P.log_density, x, sigma) - at_levels(LINE_Q.log_density, x, sigma)
    return ratio, at_levels(LINE_P.score, x, sigma) - at_levels(LINE_Q.score, x, sigma)


def draw_plane(law: Blend, rng: np.random.Generator, n: int) -> np.ndarray:
    """[n, 2] points at sigma = 0."""
    part = rng.choice(len(law.weights), n, p=law.weights.numpy())
    return law.means.numpy()[part] + law.variances.sqrt().numpy()[part, None] * rng.standard_normal((n, 2))


def _plane_parts(law: Blend, x: np.ndarray, sigma: np.ndarray) -> tuple[list, list, list]:
    """log of every component's share, offset to its mean and variance; numpy, which is faster for two components."""
    offsets = [mean - x for mean in law.means.numpy()]
    variances = [std2 + sigma**2 for std2 in law.variances.numpy()]
    logs = [
        np.log(weight) - 0.5 * (offset**2).sum(-1) / variance - np.log(2 * np.pi * variance)
        for weight, offset, variance in zip(law.weights.numpy(), offsets, variances, strict=True)
    ]
    return logs, offsets, variances


def plane_log_density(law: Blend, x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """`Blend.log_density` at `x [..., 2]` and `sigma [...]`."""
    return np.logaddexp.reduce(_plane_parts(law, x, sigma)[0])


def plane_score(law: Blend, x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """`Blend.score` at `x [..., 2]` and `sigma [...]`."""
    logs, offsets, variances = _plane_parts(law, x, sigma)
    total = np.logaddexp.reduce(logs)
    return sum(
        (np.exp(log - total) / variance)[..., None] * offset
        for log, offset, variance in zip(logs, offsets, variances, strict=True)
    )


def above(value, truth: float) -> bool:
    """Whether a 95 % interval lies wholly above the truth."""
    return value.value - 1.96 * value.std_error > truth


def covers(value, truth: float) -> bool:
    """Whether a 95 % interval holds the truth."""
    return abs(value.value - truth) <= 1.96 * value.std_error
