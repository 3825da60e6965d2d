"""Fréchet distance between two feature sets (FID when the features are Inception's pool3).

The trace of the matrix square root is the sum of the roots of the eigenvalues of cov1 @ cov2. They come from one
symmetric-definite eigenproblem when both covariances are positive definite beyond rounding, otherwise (fewer
samples than features, dead features) from the singular values of the product of two square factors. No
negative root is clamped: equal sets give zero up to rounding, which may be slightly negative.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from guidelab.metrics.value import (
    NOT_ESTIMABLE,
    ArrayLike,
    Float64,
    Value,
    as_matrix,
    judge_tail,
    with_note,
)

EPS = float(np.finfo(np.float64).eps)
CHUNK = 8192  # rows cast to float64 at a time: 134 MB at 2048 features


@dataclass(frozen=True)
class Moments:
    """Mean [F] and unbiased covariance [F, F] of `n` feature vectors, float64."""

    mean: Float64
    cov: Float64
    n: int


def moments(x: ArrayLike) -> Moments:
    """Mean and covariance (divided by n - 1) of features [N, F], accumulated in float64 in two passes.

    Raises:
        ValueError: fewer than two rows, not a matrix, or an entry that is not finite.
    """
    rows = torch.as_tensor(x).detach()
    if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] == 0:
        raise ValueError(f"moments: shape {tuple(rows.shape)}, wanted [N, F] with N >= 2")
    n = rows.shape[0]
    mean = sum(part.to(torch.float64).sum(0) for part in torch.split(rows, CHUNK)) / n
    if not bool(torch.isfinite(torch.as_tensor(mean)).all()):
        raise ValueError("moments: some features are not finite. Count and leave them out first.")
    cov = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for part in torch.split(rows, CHUNK):
        centred = part.to(torch.float64) - mean
        cov += centred.mT @ centred
    return Moments(torch.as_tensor(mean).cpu().numpy(), (cov / (n - 1)).cpu().numpy(), n)


def frechet_distance(*, generated: Moments, reference: Moments) -> float:
    """Squared Fréchet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between two Gaussians.

    Biased upwards for small n: compare only equal n (`n_generated` in the measurements).

    Args:
        generated: moments of the generated features.
        reference: moments of the real features.

    Raises:
        ValueError: shapes differ, either n is below 2, or a covariance has a negative eigenvalue.

    Source: Heusel et al. 2017, arXiv:1706.08500; Dowson and Landau 1982.
    """
    if generated.mean.shape != reference.mean.shape:
        raise ValueError(
            f"frechet_distance: {generated.mean.shape[0]} features generated, {reference.mean.shape[0]} in the "
            "reference; both must come from the same feature extractor"
        )
    if min(generated.n, reference.n) < 2:
        raise ValueError("frechet_distance: each side needs at least 2 samples")
    shift = generated.mean - reference.mean
    spread = np.trace(generated.cov) + np.trace(reference.cov) - 2 * sqrt_trace(generated.cov, reference.cov)
    return float(shift @ shift + spread)


def sqrt_trace(cov_1: Float64, cov_2: Float64) -> float:
    """Trace of (cov_1 @ cov_2)^(1/2) for two symmetric positive semi-definite matrices [F, F].

    Raises:
        ValueError: a matrix has a negative eigenvalue beyond rounding.
    """
    if _positive_definite(cov_1) and _positive_definite(cov_2):
        # Type 2: the eigenvalues of cov_1 @ cov_2 by one Cholesky factor and one symmetric reduction.
        eigenvalues = scipy.linalg.eigh(cov_1, cov_2, type=2, eigvals_only=True)
        if eigenvalues[0] > 0:
            return float(np.sqrt(eigenvalues).sum())
    # Nuclear norm of B^T A with cov = A A^T: a zero singular value is known to eps, the root of a zero
    # eigenvalue only to sqrt(eps).
    return float(scipy.linalg.svdvals(_factor(cov_2).T @ _factor(cov_1)).sum())


def _positive_definite(cov: Float64) -> bool:
    """Whether every pivot of the Cholesky factor stands far clear of rounding.

    A dead direction leaves a pivot of up to 1000 F eps of the diagonal, hence the wide margin: refusing a good
    matrix costs time, accepting a singular one costs eight digits.
    """
    try:
        pivots = np.diag(np.linalg.cholesky(cov)) ** 2
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > 1e4 * len(cov) * EPS * np.diag(cov).max())


def _factor(cov: Float64) -> Float64:
    """A [F, R] with A A^T = cov, R the numerical rank."""
    eigenvalues, vectors = np.linalg.eigh(cov)
    floor = 10 * len(cov) * EPS * eigenvalues[-1]
    if eigenvalues[0] < -max(floor, 1e-12 * eigenvalues[-1]):
        raise ValueError(f"covariance has a negative eigenvalue {eigenvalues[0]:.3g}: it is not a covariance")
    keep = eigenvalues > floor  # below it an eigenvalue is rounding of zero, of either sign
    return np.asarray(vectors[:, keep] * np.sqrt(eigenvalues[keep]), dtype=np.float64)


def frechet(
    *, generated: ArrayLike, reference: ArrayLike | Moments, seed: int = 0, replicates: int = 50
) -> Value:
    """Fréchet distance of feature arrays with a seeded bootstrap standard error.

    Both sides are resampled; a reference given as `Moments` is taken as exact. The distance has a positive
    bias that the bootstrap repeats, so only its spread is used: neither value nor error corrects the bias.
    `ess` is that of the squared distances from the generated mean, so a handful of runaways that make up the
    covariance is flagged. Generated points that are not finite are left out, counted in the note, and make the
    value `not estimable`.

    Args:
        generated: [N, F].
        reference: [M, F], or its moments.
        seed: of the bootstrap.
        replicates: bootstrap resamples; 0 gives a nan standard error.

    Raises:
        ValueError: fewer than two finite generated points, shapes that differ, a reference that is not finite.
    """
    points = as_matrix(generated, "generated")
    finite = torch.isfinite(points).all(dim=1)
    lost = int((~finite).sum())
    points = points[finite]
    gen_moments = moments(points)
    ref_points = None if isinstance(reference, Moments) else as_matrix(reference, "reference", rows=2)
    ref_moments = reference if isinstance(reference, Moments) else moments(reference)
    distance = frechet_distance(generated=gen_moments, reference=ref_moments)

    rng = np.random.default_rng(seed)
    draws = [
        frechet_distance(
            generated=moments(_resample(points, rng)),
            reference=ref_moments if ref_points is None else moments(_resample(ref_points, rng)),
        )
        for _ in range(replicates)
    ]
    radii = (points - torch.as_tensor(gen_moments.mean, device=points.device)).square().sum(1)
    ess, note = judge_tail(radii.cpu().numpy())
    error = float(np.std(draws, ddof=1)) if replicates > 1 else float("nan")
    value = Value(distance, error, ess, note)
    if lost:
        total = lost + gen_moments.n
        value = with_note(value, f"{NOT_ESTIMABLE}: {lost} of {total} generated points not finite, left out")
    return value


def _resample(points: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    rows = torch.as_tensor(rng.integers(0, len(points), len(points)), device=points.device)
    return points[rows]
