"""Precision, recall, density and coverage from k-nearest-neighbour balls.

Precision asks whether a generated point lies in the union of balls around the reference points, recall the
converse; density counts the balls, coverage asks which reference balls hold a generated point. Distances are
Euclidean in the given features, balls are closed, and k does not count the point itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from guidelab.metrics.ball_errors import share_in_balls
from guidelab.metrics.neighbours import ball_counts, kth_radius2
from guidelab.metrics.value import ArrayLike, Value, as_matrix, share, std_error, with_note

WIDE_BALL = 0.10  # share of the reference in one generated ball; k / N is usual


@dataclass(frozen=True)
class ManifoldValues:
    """The four k-NN metrics of one generated set against one reference set."""

    precision: Value
    recall: Value
    density: Value
    coverage: Value


def manifold(
    *, generated: ArrayLike, reference: ArrayLike, k: int = 3, equal_n: bool = False
) -> ManifoldValues:
    """k-NN precision, recall, density and coverage, exact, in memory that does not grow with N times M.

    The standard errors of precision and recall are over both sides, see `ball_errors`. Those of density (of the mean
    count) and coverage (binomial) are over the points that are asked and treat the balls as given: they are too small
    for comparisons across sets with different reference draws.

    A generated point that is not finite lies in no ball and has none: it counts against precision and density
    and is named in the note. A stray generated point has a large ball, which recall then counts as covered
    ground; the note tells when one ball holds more than a tenth of the reference.

    Args:
        generated: [N, F].
        reference: [M, F], finite.
        k: neighbours that set a ball's radius, the point itself excluded.
        equal_n: refuse N != M (all four depend on both sizes).

    Raises:
        ValueError: shapes differ, too few points for k, a reference point not finite, or N != M with `equal_n`.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797.
    """
    fake, real = as_matrix(generated, "generated"), as_matrix(reference, "reference")
    n_generated = len(fake)
    if fake.shape[1] != real.shape[1]:
        raise ValueError(f"manifold: {fake.shape[1]} features generated, {real.shape[1]} in the reference")
    if equal_n and n_generated != len(real):
        raise ValueError(
            f"manifold: {n_generated} generated and {len(real)} reference points, wanted equal n"
        )
    if not bool(torch.isfinite(real).all()):
        raise ValueError("manifold: the reference holds points that are not finite")
    fake = fake[torch.isfinite(fake.square().sum(1))]  # a square that overflows has no distances either
    lost = n_generated - len(fake)
    if len(fake) <= k:
        raise ValueError(f"manifold: {len(fake)} finite generated points, wanted more than k = {k}")

    balls_of_fake, hits_of_real = ball_counts(fake, real, kth_radius2(real, k))
    balls_of_real, hits_of_fake = ball_counts(real, fake, kth_radius2(fake, k))
    counts = np.concatenate([balls_of_fake.numpy(), np.zeros(lost, dtype=np.int64)])
    density = counts.astype(np.float64) / k
    values = ManifoldValues(
        precision=share_in_balls(counts > 0, points=fake, centres=real, k=k),
        recall=share_in_balls(balls_of_real.numpy() > 0, points=real, centres=fake, k=k),
        density=Value(float(density.mean()), std_error(density)),
        coverage=share(hits_of_real.numpy() > 0),
    )
    widest = float(hits_of_fake.max()) / len(real)
    if widest > WIDE_BALL:
        note = f"one generated point's ball holds {100 * widest:.0f} % of the reference"
        values = replace(values, recall=with_note(values.recall, note))
    if not lost:
        return values
    note = f"{lost} of {n_generated} generated points not finite, in no ball"
    return ManifoldValues(*(with_note(v, note) for v in vars(values).values()))
