"""Fréchet distance of many generated sets to one fixed reference, with a standard error at no extra cost.

With C2 = B B^T of the reference factored once, and Z = (X - mean) B [n, R] for a generated set of n rows, the trace
of (C1 C2)^(1/2) is the sum of the singular values of Z / sqrt(n - 1). Its squares are the eigenvalues of the smaller
of Z Z^T and Z^T Z: with fewer samples than features an n x n problem instead of one of the features' size. The same
eigenvectors give the derivative of the distance by the weight of each generated row, hence its standard error
by the infinitesimal jackknife instead of fifty bootstrap distances.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import torch

from guidelab.metrics.frechet import Moments, moments
from guidelab.metrics.value import NOT_ESTIMABLE, ArrayLike, Float64, Value, as_matrix, judge_tail, with_note

EPS = float(np.finfo(np.float64).eps)
GRID_RANGE, GRID_STEP = (1e-10, 1e4), 0.4  # of the largest eigenvalue, logarithmic: the deletions to 4 digits
DOUBT = 1e-7  # of the two traces: allowed rounding in the small eigenvalues' roots before singular values are used


@dataclass(frozen=True)
class Spread:
    """A reference's moments and a factor [F, R] of its covariance, factor @ factor.T, R its numerical rank."""

    moments: Moments
    factor: Float64


def spread(reference: ArrayLike | Moments) -> Spread:
    """Moments of reference features [M, F] (or those given), their covariance factored.

    Raises:
        ValueError: fewer than two rows, rows that are not finite, or a negative eigenvalue beyond rounding.
    """
    found = reference if isinstance(reference, Moments) else moments(reference)
    factor = _cholesky(found.cov)
    if factor is not None:
        return Spread(found, factor)
    eigenvalues, vectors = np.linalg.eigh(found.cov)
    floor = 10 * len(found.cov) * EPS * max(eigenvalues[-1], 0.0)
    if eigenvalues[0] < -max(floor, 1e-12 * eigenvalues[-1]):
        raise ValueError(f"covariance has a negative eigenvalue {eigenvalues[0]:.3g}: it is not a covariance")
    keep = eigenvalues > floor  # below it an eigenvalue is rounding of zero, of either sign
    return Spread(found, np.asarray(vectors[:, keep] * np.sqrt(eigenvalues[keep]), dtype=np.float64))


def _cholesky(cov: Float64) -> Float64 | None:
    """A factor [F, R] by Cholesky of the features that vary, R of them; None when that is not clear of rounding."""
    alive = np.flatnonzero(np.diag(cov) > 0)  # rectified features may be zero in every image
    if not len(alive):
        return None
    try:
        triangle = np.linalg.cholesky(cov[np.ix_(alive, alive)])
    except np.linalg.LinAlgError:
        return None
    pivots = np.diag(triangle) ** 2
    if pivots.min() <= 1e4 * len(cov) * EPS * np.diag(cov).max():  # see frechet._positive_definite
        return None
    factor = np.zeros((len(cov), len(alive)))
    factor[alive] = triangle
    return factor


def frechet_fixed(*, generated: ArrayLike, reference: Spread) -> Value:
    """Squared Fréchet distance with its standard error over generated samples, the reference held fixed.

    The value is that of `frechet.frechet_distance`, including its positive bias at small n (compare equal n only).
    The standard error is the infinitesimal jackknife's: the spread of the distance's derivative by each row's
    weight. It does not contain the bias, nor what another reference would change; every method meets the same one.
    `ess` and its flag are those of `frechet.frechet`. Generated rows that are not finite are left out, counted in
    the note, and make the value `not estimable`.

    Args:
        generated: [N, F].
        reference: from `spread`.

    Raises:
        ValueError: fewer than two finite rows, or another number of features than the reference.

    Source: Heusel et al. 2017, arXiv:1706.08500; Efron 1982 for the infinitesimal jackknife.
    """
    points = as_matrix(generated, "generated").cpu()
    finite = torch.isfinite(points).all(dim=1)
    x = points[finite].numpy()
    n, given = len(x), len(points)
    if x.shape[1] != len(reference.moments.mean):
        raise ValueError(
            f"frechet_fixed: {x.shape[1]} features generated, {len(reference.moments.mean)} in the reference; both "
            "must come from the same feature extractor"
        )
    if n < 2:
        raise ValueError(f"frechet_fixed: {n} finite generated points, wanted at least 2")
    mean = x.mean(0)
    centred = x - mean
    radii = np.square(centred).sum(1)
    shift = mean - reference.moments.mean
    traces = radii.sum() / (n - 1) + np.trace(reference.moments.cov)
    root, lost = _roots(centred @ reference.factor, float(traces))
    distance = float(shift @ shift + traces - 2 * root)
    parts = _jackknife_parts(centred, radii, shift, root, lost) if n > 2 else None
    error = float("nan") if parts is None else float(np.linalg.norm(parts))
    ess, note = judge_tail(radii)
    value = Value(distance, error, ess, note)
    if n == given:
        return replace(value, parts=parts)
    return with_note(value, f"{NOT_ESTIMABLE}: {given - n} of {given} generated points not finite, left out")


def _roots(z: Float64, scale: float) -> tuple[float, Float64]:
    """Trace of C^(1/2), C = z^T z / (n - 1) for centred z [n, R], and how much of it each row's deletion takes [n].

    Without row i, n / (n - 1) of its outer product leaves the sum (the mean moves too), so with its leverage
    h_i(t) = y_i^T (C + t)^-1 y_i the determinants of C + t differ by the factor 1 - n / (n - 1) h_i(t), and
    lambda^(1/2) = 1 / (2 pi) int log(1 + lambda / t) t^(-1/2) dt makes a trace of them.
    """
    n, rank = z.shape
    tall = n > rank
    gram = (z.T @ z if tall else z @ z.T) / (n - 1)
    eigenvalues, vectors = scipy.linalg.eigh(gram, overwrite_a=True, check_finite=False)
    largest = float(eigenvalues[-1]) if len(eigenvalues) else 0.0
    if largest <= 0:
        return 0.0, np.zeros(n)
    noise = 8 * EPS * largest
    eigenvalues = np.where(
        eigenvalues > noise, eigenvalues, 0.0
    )  # centred rows leave one that is rounding of zero
    total = float(np.sqrt(eigenvalues).sum())
    # An eigenvalue is known to eps of the largest, its root only to the root of that: prove it harmless or redo.
    if np.sqrt(noise) * float((eigenvalues < 100 * noise).sum()) > DOUBT * scale:
        total = float(scipy.linalg.svdvals(z, check_finite=False).sum() / np.sqrt(n - 1))
    parts = np.square(z @ vectors) / (n - 1) if tall else np.square(vectors) * eigenvalues  # [n, J]
    grid = largest * np.exp(np.arange(np.log(GRID_RANGE[0]), np.log(GRID_RANGE[1]), GRID_STEP))
    leverage = parts @ (1 / (eigenvalues[:, None] + grid))  # [n, T]
    logs = -np.log(np.maximum(1 - n / (n - 1) * leverage, EPS))
    tail = 2 * n / (n - 1) * parts.sum(1) / np.sqrt(grid[-1] * np.exp(GRID_STEP / 2))
    return total, (logs @ np.sqrt(grid) * GRID_STEP + tail) / (2 * np.pi)


def _jackknife_parts(centred: Float64, radii: Float64, shift: Float64, root: float, lost: Float64) -> Float64:
    """Parts [n] of the distance (see `Value`) from the distances without each row in turn."""
    n = len(centred)
    shifts = shift @ shift - 2 * (centred @ shift) / (n - 1) + radii / (n - 1) ** 2
    traces = (radii.sum() - n / (n - 1) * radii) / (n - 2)
    without = shifts + traces - 2 * np.sqrt((n - 1) / (n - 2)) * (root - lost)
    return np.asarray(np.sqrt((n - 1) / n) * (without - without.mean()))
