"""The papers' image metrics: released statistics for the Fréchet distances, unequal sizes for precision and recall.

Where `images.measure_images` compares equal numbers under one rule of our own, this follows the evaluators that the
published tables were made with: FID and sFID against a mean and a covariance (released, or of a fold of ours), the
Inception score in splits of 5,000, precision and recall of 50,000 generated against 10,000 real images with k = 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from guidelab.metrics.chunked import precision_recall_chunked
from guidelab.metrics.class_scores import accuracy, inception_score
from guidelab.metrics.frechet import Moments
from guidelab.metrics.frechet_fixed import Spread, frechet_fixed, spread
from guidelab.metrics.kid import kid
from guidelab.metrics.value import ArrayLike, Value, as_matrix, as_vector, with_note

PROTOCOL_METRICS = ("fid", "sfid", "inception_score", "precision", "recall", "kid", "accuracy")
SPLIT = 5000  # images in a split of the Inception score, as ADM's evaluator has them
IMAGES, STATISTICS, NOTHING = "images", "statistics", "nothing"  # what a number was computed against
RELEASED = "against released statistics, taken as exact: the error holds no sampling of the reference"


@dataclass(frozen=True)
class Generated:
    """What an extractor says of N generated images.

    Attributes:
        features: [N, F].
        spatial: [N, S], for sfid.
        logits: [N, K], for inception_score and accuracy.
        labels: [N] classes asked for, for accuracy.
    """

    features: ArrayLike
    spatial: ArrayLike | None = None
    logits: ArrayLike | None = None
    labels: ArrayLike | None = None


@dataclass(frozen=True)
class Reference:
    """What generated images are compared with.

    Attributes:
        features: [M, F] of real images, for precision, recall and kid.
        statistics: mean and covariance of features, for fid.
        spatial: mean and covariance of spatial features, for sfid.
        released: the statistics are somebody else's file, not those of `features`.
        n: images behind the statistics; 0 where the file does not say.
    """

    features: ArrayLike | None = None
    statistics: Spread | None = None
    spatial: Spread | None = None
    released: bool = False
    n: int = 0


@dataclass(frozen=True)
class Number:
    """One metric with the numbers of images behind both sides; `against` is images, statistics or nothing."""

    metric: str
    value: Value
    n_generated: int
    n_reference: int
    against: str


def released_statistics(mean: ArrayLike, cov: ArrayLike) -> Spread:
    """A mean [F] and a covariance [F, F] from a file, factored for `frechet_fixed`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a matrix that is no covariance.
    """
    centre, matrix = as_vector(mean, "mean"), as_matrix(cov, "cov").cpu()
    if matrix.shape != (len(centre), len(centre)):
        raise ValueError(f"statistics: mean [{len(centre)}] and covariance {tuple(matrix.shape)} do not fit")
    if not bool(torch.isfinite(matrix).all()) or not bool(torch.isfinite(torch.from_numpy(centre)).all()):
        raise ValueError("statistics: hold values that are not finite")
    largest = float(matrix.abs().max())
    if float((matrix - matrix.mT).abs().max()) > 1e-6 * largest:
        raise ValueError("statistics: the covariance is not symmetric")
    if float(matrix.diagonal().min()) < 0:
        raise ValueError("statistics: the covariance has a negative variance")
    return spread(Moments(centre, ((matrix + matrix.mT) / 2).numpy(), 0))


def measure_protocol(
    generated: Generated, reference: Reference, names: Sequence[str], *, k: int
) -> list[Number]:
    """The named metrics in the order asked for.

    `fid` and `sfid` meet the statistics; their standard errors are over generated images with the reference held
    fixed. `precision` and `recall` are of all N x M images as they are, which ADM's tables do with 50,000 x 10,000: both
    depend on both sizes, so such numbers compare with the same two sizes only. `kid` is unbiased at any sizes.
    `inception_score` is the mean over N // 5,000 consecutive parts (one below 10,000 images): it depends on the order of
    the images, which is that of their seeds here, and on N.

    Memory: the features given and, for the distances, about six float64 copies of [N, F] (5 GB at 50,000 x 2,048).

    Args:
        generated: of one set of images.
        reference: of what it is compared with; each metric needs its own part.
        names: from `PROTOCOL_METRICS`.
        k: neighbours that set a ball's radius, the point itself excluded.

    Raises:
        ValueError: an unknown name, a part that is wanted and absent, or sizes that do not fit.

    Source: Dhariwal and Nichol 2021, arXiv:2105.05233 (the evaluator); Nash et al. 2021, arXiv:2103.03841 (sFID).
    """
    unknown = [name for name in names if name not in PROTOCOL_METRICS]
    if unknown:
        raise ValueError(
            f"measure_protocol: {unknown[0]!r} is not known; wanted one of {', '.join(PROTOCOL_METRICS)}"
        )
    n, found = len(generated.features), {}
    if "fid" in names:
        found["fid"] = _distance(generated.features, reference.statistics, reference, "fid")
    if "sfid" in names:
        spatial = _given(generated.spatial, n, "spatial features")
        found["sfid"] = _distance(spatial, reference.spatial, reference, "sfid")
    if {"precision", "recall"} & set(names):
        real = _real(reference, "precision and recall")
        both = precision_recall_chunked(generated=generated.features, reference=real, k=k)
        sizes = f"k = {k}, {len(real)} real x {n} generated"
        for name, value in (("precision", both.precision), ("recall", both.recall)):
            found[name] = (with_note(value, sizes), len(real), IMAGES)
    if "kid" in names:
        real = _real(reference, "kid")
        found["kid"] = (kid(generated=generated.features, reference=real), len(real), IMAGES)
    if "inception_score" in names:
        found["inception_score"] = (_score(_given(generated.logits, n, "logits")), 0, NOTHING)
    if "accuracy" in names:
        logits, labels = (
            _given(generated.logits, n, "logits"),
            _given(generated.labels, n, "labels"),
        )
        found["accuracy"] = (accuracy(logits, labels), 0, NOTHING)
    return [Number(name, found[name][0], n, *found[name][1:]) for name in names]


def _distance(
    features: ArrayLike, statistics: Spread | None, reference: Reference, name: str
) -> tuple[Value, int, str]:
    if statistics is None:
        raise ValueError(f"measure_protocol: {name}: no statistics of the reference were given")
    value = frechet_fixed(generated=features, reference=statistics)
    if reference.released:
        return with_note(value, RELEASED), reference.n, STATISTICS
    return value, statistics.moments.n, IMAGES


def _score(logits: ArrayLike) -> Value:
    """The Inception score in as many parts as 5,000 goes into the number of rows."""
    splits = max(1, len(logits) // SPLIT)
    rows = f"{len(logits) // splits} rows" if len(logits) % splits == 0 else f"about {SPLIT} rows"
    said = f"{splits} consecutive splits of {rows}" if splits > 1 else "one split"
    return with_note(inception_score(logits, splits=splits), said)


def _real(reference: Reference, name: str) -> ArrayLike:
    if reference.features is None:
        raise ValueError(f"measure_protocol: {name}: no features of real images were given")
    return reference.features


def _given(values: ArrayLike | None, n: int, name: str) -> ArrayLike:
    if values is None:
        raise ValueError(f"measure_protocol: {name} are wanted and were not given; has this extractor them?")
    if len(values) != n:
        raise ValueError(f"measure_protocol: {len(values)} {name}, wanted {n}")
    return values
