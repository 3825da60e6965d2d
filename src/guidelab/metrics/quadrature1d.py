"""Exact f-divergences on a line: Gaussian mixtures diffused by added noise, integrated by quadrature.

The truth that estimators along sigma are checked against: the divergence at any noise level, and its integral form
under any measure. Everything in nats; no sampling, so no standard errors and no bounds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from guidelab.metrics.divergence import DIVERGENCES
from guidelab.metrics.divergence_weights import Measure, log_weight
from guidelab.metrics.value import Float64

_REACH = 14.0  # standard deviations: exp(-98) is below any sum here
_PER_STD = 12  # points per smallest standard deviation; the trapezoidal rule converges geometrically
_MAX_POINTS = 1 << 21


@dataclass(frozen=True)
class Mixture1D:
    """sum_k weights[k] N(means[k], stds[k]^2), and the same with noise of standard deviation sigma added.

    Attributes:
        weights: K positive numbers that sum to 1.
        means, stds: K numbers each, stds positive.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.weights), len(self.means), len(self.stds)}
        if len(sizes) > 1 or min(*self.weights, *self.stds, 1.0) <= 0 or abs(sum(self.weights) - 1) > 1e-12:
            raise ValueError(f"{self}: wanted equally many, positive weights that sum to 1 and positive stds")

    def variances(self, sigma: float) -> Float64:
        """[K] variances at noise level sigma."""
        return np.asarray(np.square(self.stds) + sigma**2)

    def log_density(self, x: Float64, sigma: float) -> Float64:
        """log p(x; sigma) in nats, any shape of `x`."""
        return np.asarray(logsumexp(self._log_parts(x, sigma), axis=-1))

    def score(self, x: Float64, sigma: float) -> Float64:
        """d log p(x; sigma) / dx."""
        parts = self._log_parts(x, sigma)
        share = np.exp(parts - logsumexp(parts, axis=-1, keepdims=True))
        pull = (np.asarray(self.means) - np.asarray(x)[..., None]) / self.variances(sigma)
        return np.asarray((share * pull).sum(-1))

    def _log_parts(self, x: Float64, sigma: float) -> Float64:
        variance = self.variances(sigma)
        square = (np.asarray(x)[..., None] - np.asarray(self.means)) ** 2 / variance
        return np.asarray(np.log(self.weights) - 0.5 * (square + np.log(2 * np.pi * variance)))


def divergence_1d(name: str, p: Mixture1D, q: Mixture1D, sigma: float) -> float:
    """D(p||q) of the diffused mixtures at one noise level; inf where the integral diverges.

    Args:
        name: a key of `divergence.DIVERGENCES`.
        p, q: data and model at sigma = 0.
        sigma: noise level, >= 0.
    """
    if name == "chi2_neyman":
        return divergence_1d("chi2", q, p, sigma)
    if name == "chi2" and _diverges(p, q, sigma):
        return float("inf")
    x, step = _grid(name, p, q, sigma)
    log_p, log_q = p.log_density(x, sigma), q.log_density(x, sigma)
    ratio = log_p - log_q
    if name == "chi2":  # q (r-1)^2 in logarithms: in the tail r alone would overflow
        with np.errstate(divide="ignore"):
            log_gap = np.log(-np.expm1(-np.abs(ratio))) + np.maximum(ratio, 0)
        return float(np.exp(log_q + 2 * log_gap).sum() * step)
    mixture = np.exp(np.logaddexp(log_p, log_q) - np.log(2))
    return float((mixture * DIVERGENCES[name].integrand(ratio)).sum() * step)


def curve_1d(name: str, p: Mixture1D, q: Mixture1D, sigma: float, measure: Measure) -> float:
    """sigma^2 E[w (s_p - s_q)^2] at one noise level: -dD/d ln sigma if measure and weight agree, in nats.

    Args:
        measure: density of the expectation and of the weight: "p", "q" or "m".
    """
    x, step = _grid(name, p, q, sigma)
    log_p, log_q = p.log_density(x, sigma), q.log_density(x, sigma)
    density = {"p": log_p, "q": log_q, "m": np.logaddexp(log_p, log_q) - np.log(2)}[measure]
    gap = p.score(x, sigma) - q.score(x, sigma)
    return float(
        sigma**2 * (np.exp(density + log_weight(name, measure, log_p - log_q)) * gap**2).sum() * step
    )


def integral_1d(
    name: str, p: Mixture1D, q: Mixture1D, low: float, high: float, measure: Measure, nodes: int = 96
) -> float:
    """The integral of `curve_1d` over ln sigma from low to high: D(low) - D(high), in nats.

    Gauss-Legendre in ln sigma; 96 nodes over five decades leave about 1e-12.
    """
    place, weights = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * np.log(high / low)
    sigmas = np.sqrt(low * high) * np.exp(half * place)
    return float(half * weights @ [curve_1d(name, p, q, float(s), measure) for s in sigmas])


def gaussian_divergence(name: str, mean_p: float, var_p: float, mean_q: float, var_q: float) -> float:
    """D(N(mean_p, var_p) || N(mean_q, var_q)) in closed form (JS by quadrature, it has none); inf where infinite."""
    if name in ("kl_reverse", "chi2_neyman"):
        swapped = {"kl_reverse": "kl", "chi2_neyman": "chi2"}[name]
        return gaussian_divergence(swapped, mean_q, var_q, mean_p, var_p)
    square = (mean_p - mean_q) ** 2
    if name == "kl":
        excess = var_p / var_q - 1
        return float(0.5 * (excess - np.log1p(excess) + square / var_q))
    if name == "chi2":
        spare = 2 * var_q - var_p
        if spare <= 0:
            return float("inf")
        return float(np.expm1(np.log(var_q) - 0.5 * np.log(var_p * spare) + square / spare))
    if name == "hellinger2":
        total = var_p + var_q
        overlap = 0.5 * np.log(2 * np.sqrt(var_p * var_q) / total) - square / (4 * total)
        return float(-np.expm1(overlap))
    if name == "js":
        p = Mixture1D((1.0,), (mean_p,), (var_p**0.5,))
        q = Mixture1D((1.0,), (mean_q,), (var_q**0.5,))
        return divergence_1d("js", p, q, 0.0)
    raise ValueError(f"divergence {name!r}: wanted one of {', '.join(DIVERGENCES)}")


def _diverges(p: Mixture1D, q: Mixture1D, sigma: float) -> bool:
    """Whether p^2 / q grows in the tails: its widest components decide."""
    spare = 2 * q.variances(sigma).max() - p.variances(sigma).max()
    return bool(spare <= 0)


def _grid(name: str, p: Mixture1D, q: Mixture1D, sigma: float) -> tuple[Float64, float]:
    """Equidistant points over everything the integrand of `name` can hold, and their distance."""
    centres = [*p.means, *q.means]
    variances = np.concatenate([p.variances(sigma), q.variances(sigma)])
    widths = list(np.sqrt(variances))
    for first, second, heavy in ((p, q, "chi2"), (q, p, "chi2_neyman")):
        if name != heavy:
            continue
        # first^2 / second is a Gaussian of its own for every pair: wide when first is almost twice as wide
        widest = int(second.variances(sigma).argmax())
        var_second, mean_second = second.variances(sigma)[widest], second.means[widest]
        for mean, var in zip(first.means, first.variances(sigma), strict=True):
            precision = 2 / var - 1 / var_second
            if precision > 0:
                centres.append((2 * mean / var - mean_second / var_second) / precision)
                widths.append(precision**-0.5)
    # a centre may lie far out: each needs its own width only
    low = min(centres) - _REACH * max(widths)
    high = max(centres) + _REACH * max(widths)
    points = int(np.ceil((high - low) / np.sqrt(variances.min()) * _PER_STD))
    if points > _MAX_POINTS:
        raise ValueError(f"{name} at sigma {sigma:g}: {points} points wanted, at most {_MAX_POINTS}")
    x = np.linspace(low, high, points + 1)
    return np.asarray(x), float(x[1] - x[0])
