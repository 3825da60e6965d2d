"""The image metrics of one generated set against one reference set, by name."""

from collections.abc import Sequence

import torch

from guidelab.metrics.class_scores import accuracy, inception_score
from guidelab.metrics.frechet_fixed import Spread, frechet_fixed, spread
from guidelab.metrics.kid import kid
from guidelab.metrics.manifold import manifold
from guidelab.metrics.value import ArrayLike, Value, as_matrix

IMAGE_METRICS = ("fid", "kid", "precision", "recall", "inception_score", "accuracy")
Measured = tuple[str, Value, int, int]  # name, value, n_generated, n_reference (0: no reference is used)


def measure_images(
    generated: ArrayLike,
    reference: ArrayLike,
    names: Sequence[str],
    *,
    k: int,
    seed: int,
    generated_logits: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    reference_spread: Spread | None = None,
) -> list[Measured]:
    """The named metrics in the order asked for, each with the numbers of rows it was computed from.

    `fid` meets the whole reference. `kid`, `precision` and `recall` meet as many reference rows as there are
    generated ones, drawn without replacement by `seed`: precision and recall depend on both sizes.
    `inception_score` and `accuracy` look at the generated logits alone.

    Args:
        generated: features [N, F] of generated images.
        reference: features [M, F] of real images, M >= N for the metrics at equal n.
        names: from `IMAGE_METRICS`.
        k: neighbours that set a ball's radius in precision and recall, the point itself excluded.
        seed: of the reference subset; give every variant of one seed block the same, and differences are paired.
        generated_logits: [N, K], for `inception_score` and `accuracy`.
        labels: [N] classes asked for, for `accuracy`.
        reference_spread: `spread(reference)`, when many sets meet one reference.

    Raises:
        ValueError: an unknown name, sizes that do not fit, logits or labels that are wanted and absent.
    """
    unknown = [name for name in names if name not in IMAGE_METRICS]
    if unknown:
        raise ValueError(f"measure_images: {unknown[0]!r} is not known; wanted {', '.join(IMAGE_METRICS)}")
    fake, real = as_matrix(generated, "generated"), torch.as_tensor(reference)
    n = len(fake)
    found: dict[str, tuple[Value, int]] = {}
    if "fid" in names:
        fixed = reference_spread if reference_spread is not None else spread(real)
        found["fid"] = (frechet_fixed(generated=fake, reference=fixed), fixed.moments.n)
    if {"kid", "precision", "recall"} & set(names):
        subset = equal_subset(real, n, seed)
        if "kid" in names:
            found["kid"] = (kid(generated=fake, reference=subset), n)
        if {"precision", "recall"} & set(names):
            values = manifold(generated=fake, reference=subset, k=k, equal_n=True)
            found["precision"], found["recall"] = (values.precision, n), (values.recall, n)
    if "inception_score" in names:
        found["inception_score"] = (inception_score(_given(generated_logits, n, "generated_logits")), 0)
    if "accuracy" in names:
        logits = _given(generated_logits, n, "generated_logits")
        found["accuracy"] = (accuracy(logits, _given(labels, n, "labels")), 0)
    return [(name, found[name][0], n, found[name][1]) for name in names]


def equal_subset(reference: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """`n` rows of the reference in random order, drawn without replacement by `seed`.

    Raises:
        ValueError: the reference has fewer rows.
    """
    if len(reference) < n:
        raise ValueError(
            f"measure_images: {len(reference)} reference rows for {n} generated ones, wanted at least as many "
            "(precision and recall are compared at equal n)"
        )
    order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(seed))
    return reference[order[:n]]


def _given(values: ArrayLike | None, n: int, name: str) -> ArrayLike:
    if values is None:
        raise ValueError(
            f"measure_images: {name} are wanted and were not given; does this extractor classify?"
        )
    if len(values) != n:
        raise ValueError(f"measure_images: {len(values)} {name}, wanted {n}")
    return values
