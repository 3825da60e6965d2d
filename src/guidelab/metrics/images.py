"""Compute named image metrics of a generated set against a reference, with equal or with all reference images.

`equal`: precision, recall and KID are computed with as many reference images as there are generated ones, a seeded
subset without replacement; the Inception score of all images at once. `all`: the evaluators that published tables
were made with, in which every image counts: precision and recall of 50,000 generated against 10,000 real images, the
Inception score in splits of 5,000. Under both, FID and sFID are distances to a mean and a covariance, released or of a
split of the data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from guidelab.metrics.chunked import precision_recall_chunked
from guidelab.metrics.class_scores import accuracy, inception_score
from guidelab.metrics.flags import flagged, flags, rank_flag
from guidelab.metrics.frechet import Moments
from guidelab.metrics.frechet_fixed import Spread, frechet_fixed, spread
from guidelab.metrics.kid import kid
from guidelab.metrics.manifold import manifold
from guidelab.metrics.value import ArrayLike, Value, as_matrix, as_vector, with_note

IMAGE_METRICS = ("fid", "sfid", "inception_score", "precision", "recall", "kid", "accuracy")
COUNTS = ("equal", "all")
REAL = {"precision", "recall", "kid"}  # metrics that need single real images
SPLIT = 5000  # images in a split of the Inception score, as ADM's evaluator has them
IMAGES, STATISTICS, NOTHING = "images", "statistics", "nothing"  # what a number was computed against
RELEASED = "against released statistics, taken as exact: the error holds no sampling of the reference"


@dataclass(frozen=True)
class Generated:
    """Features of N generated images, and what else their extractor gives.

    Attributes:
        features: [N, F].
        spatial: [N, S], for sfid.
        logits: [N, K], for inception_score and accuracy.
        labels: [N] classes given to the sampler, for accuracy.
    """

    features: ArrayLike
    spatial: ArrayLike | None = None
    logits: ArrayLike | None = None
    labels: ArrayLike | None = None


@dataclass(frozen=True)
class Reference:
    """The reference of generated images.

    Attributes:
        features: [M, F] of real images, for precision, recall and kid.
        statistics: mean and covariance of features, for fid.
        spatial: mean and covariance of spatial features, for sfid.
        released: the statistics are a published file, not those of `features`.
        n: images behind the statistics; 0 if unknown.
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


def measure_images(
    generated: Generated, reference: Reference, names: Sequence[str], *, k: int, counts: str, seed: int = 0
) -> list[Number]:
    """The named metrics in the given order.

    The standard errors of `fid` and `sfid` are over generated images with the reference held fixed. `precision` and
    `recall` depend on the sizes of both sides, so they compare with the same two sizes only; `kid` is unbiased at any
    sizes. The Inception score in splits is the mean over N // 5,000 consecutive parts (one below 10,000 images): it
    depends on the order of the images, which is that of their seeds here, and on N.

    Memory: the features given and, for the distances, about six float64 copies of [N, F] (5 GB at 50,000 x 2,048).

    Args:
        generated: of one set of images.
        reference: its reference; each metric needs its own part.
        names: from `IMAGE_METRICS`.
        k: neighbours that set a ball's radius, the point itself excluded.
        counts: equal or all, see above.
        seed: of the subset under `equal`; give every variant of one seed block the same, and differences are paired.

    Raises:
        ValueError: an unknown name or rule, an absent part, or sizes that do not fit.

    Source: Dhariwal and Nichol 2021, arXiv:2105.05233 (the evaluator); Nash et al. 2021, arXiv:2103.03841 (sFID).
    """
    for given, known in ((counts, COUNTS), *((name, IMAGE_METRICS) for name in names)):
        if given not in known:
            raise ValueError(f"measure_images: {given!r} is not known; wanted one of {', '.join(known)}")
    n, found = len(generated.features), {}
    if "fid" in names:
        found["fid"] = _distance(generated.features, reference.statistics, reference, "fid")
    if "sfid" in names:
        spatial = _given(generated.spatial, n, "spatial features")
        found["sfid"] = _distance(spatial, reference.spatial, reference, "sfid")
    if REAL & set(names):
        real = _real(reference)
        rows = equal_subset(real, n, seed) if counts == "equal" else real
        for name, value in _compared(generated.features, rows, names, k, counts):
            found[name] = (value, len(rows), IMAGES)
    if "inception_score" in names:
        found["inception_score"] = (_score(_given(generated.logits, n, "logits"), counts), 0, NOTHING)
    if "accuracy" in names:
        logits, labels = _given(generated.logits, n, "logits"), _given(generated.labels, n, "labels")
        found["accuracy"] = (accuracy(logits, labels), 0, NOTHING)
    rank = rank_flag(n, torch.as_tensor(generated.features).shape[1])
    values = {name: found[name][0] for name in names}
    noted = flagged(values, flags(generated.features, reference.features), rank)
    return [Number(name, noted[name], n, *found[name][1:]) for name in names]


def equal_subset(reference: ArrayLike, n: int, seed: int) -> torch.Tensor:
    """`n` rows of the reference in random order, drawn without replacement by `seed`.

    Raises:
        ValueError: the reference has fewer rows.
    """
    rows = torch.as_tensor(reference)
    if len(rows) < n:
        raise ValueError(
            f"measure_images: {len(rows)} reference rows for {n} generated ones, wanted at least as many: KID, "
            "precision and recall compare equal counts. Give a larger reference split, smaller blocks or `counts: all`"
        )
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:n]]


def _compared(
    generated: ArrayLike, real: ArrayLike, names: Sequence[str], k: int, counts: str
) -> Iterator[tuple[str, Value]]:
    """The metrics that need single real images."""
    if "kid" in names:
        yield "kid", kid(generated=generated, reference=real)
    if not {"precision", "recall"} & set(names):
        return
    if counts == "equal":
        values = manifold(generated=generated, reference=real, k=k, equal_n=True)
        yield from (("precision", values.precision), ("recall", values.recall))
        return
    both = precision_recall_chunked(generated=generated, reference=real, k=k)
    sizes = f"k = {k}, {len(real)} real x {len(generated)} generated"
    yield from ((name, with_note(getattr(both, name), sizes)) for name in ("precision", "recall"))


def _distance(
    features: ArrayLike, statistics: Spread | None, reference: Reference, name: str
) -> tuple[Value, int, str]:
    if statistics is None:
        raise ValueError(f"measure_images: {name}: no statistics of the reference were given")
    value = frechet_fixed(generated=features, reference=statistics)
    if reference.released:
        return with_note(value, RELEASED), reference.n, STATISTICS
    return value, statistics.moments.n, IMAGES


def _score(logits: ArrayLike, counts: str) -> Value:
    """The Inception score, under `all` in as many parts as 5,000 goes into the number of rows."""
    if counts == "equal":
        return inception_score(logits)
    splits = max(1, len(logits) // SPLIT)
    rows = f"{len(logits) // splits} rows" if len(logits) % splits == 0 else f"about {SPLIT} rows"
    note = f"{splits} consecutive splits of {rows}" if splits > 1 else "one split"
    return with_note(inception_score(logits, splits=splits), note)


def _real(reference: Reference) -> ArrayLike:
    if reference.features is None:
        raise ValueError("measure_images: kid, precision and recall need features of real images, given none")
    return reference.features


def _given(values: ArrayLike | None, n: int, name: str) -> ArrayLike:
    if values is None:
        raise ValueError(
            f"measure_images: {name} are wanted and were not given; does this extractor give them?"
        )
    if len(values) != n:
        raise ValueError(f"measure_images: {len(values)} {name}, wanted {n}")
    return values
