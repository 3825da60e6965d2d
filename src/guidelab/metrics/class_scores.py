"""What a classifier's logits say of generated images: the Inception score, and how often the class is the asked one."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from guidelab.metrics.value import (
    NOT_ESTIMABLE,
    ArrayLike,
    Value,
    as_matrix,
    as_vector,
    mean_parts,
    share,
    with_note,
)


def inception_score(logits: ArrayLike, *, splits: int = 1) -> Value:
    """exp of the mean divergence KL(p(y|x) || p(y)) of class probabilities; between 1 and the number of classes.

    Says nothing of the reference: memorised images score as well as new ones. It grows with n (the marginal p(y) is
    the sample's own), so compare equal n only. The default is one split over all rows, the least biased; the usual
    ten splits give smaller values. The standard error is that of the mean divergence times the score (delta
    method); with splits, those of the parts combined.

    Args:
        logits: [N, K] of generated images, K >= 2.
        splits: consecutive parts whose scores are averaged.

    Raises:
        ValueError: fewer than two finite rows in a part.

    Source: Salimans et al. 2016, arXiv:1606.03498; with `splits` equal to torch-fidelity without its shuffle.
    """
    rows = as_matrix(logits, "logits").cpu()
    finite = torch.isfinite(rows).all(dim=1)
    given, rows = len(rows), rows[finite]
    if splits < 1 or len(rows) < 2 * splits:
        raise ValueError(
            f"inception_score: {len(rows)} finite rows in {splits} splits, wanted two or more in each"
        )
    edges = [i * len(rows) // splits for i in range(splits + 1)]
    parts = [_score(rows[a:b]) for a, b in pairwise(edges)]
    values, errors = np.array(parts).T
    result = Value(float(values.mean()), float(np.linalg.norm(errors)) / splits)
    if len(rows) == given:
        return result
    return with_note(result, f"{NOT_ESTIMABLE}: {given - len(rows)} of {given} rows not finite, left out")


def _score(logits: torch.Tensor) -> tuple[float, float]:
    log_p = logits.log_softmax(1)
    log_marginal = torch.logsumexp(log_p, 0) - np.log(len(logits))
    p = log_p.exp()
    # A class of probability 0 contributes 0; its logarithms would make that nan.
    divergence = torch.where(p > 0, p * (log_p - log_marginal), 0.0).sum(1)
    score = float(divergence.mean().exp())
    return score, score * float(divergence.std()) / np.sqrt(len(logits))


def accuracy(logits: ArrayLike, labels: ArrayLike) -> Value:
    """Share of rows whose largest logit is the class that was asked for; a row that is not finite counts as wrong.

    Compare with the classifier's accuracy on real images: above it, samples are more typical than the data.

    Args:
        logits: [N, K].
        labels: [N] class indices.

    Raises:
        ValueError: other lengths, or a label the classifier does not know.
    """
    rows, wanted = as_matrix(logits, "logits").cpu(), as_vector(labels, "labels").astype(np.int64)
    if len(rows) != len(wanted):
        raise ValueError(f"accuracy: {len(rows)} logits and {len(wanted)} labels")
    if wanted.min() < 0 or wanted.max() >= rows.shape[1]:
        raise ValueError(
            f"accuracy: labels {wanted.min()}..{wanted.max()}, wanted 0..{rows.shape[1] - 1}, the classifier's classes"
        )
    finite = torch.isfinite(rows).all(dim=1)
    hits = ((rows.argmax(1) == torch.from_numpy(wanted)) & finite).numpy()
    lost = int((~finite).sum())
    value = share(hits, f"{lost} of {len(rows)} rows not finite, counted as wrong" if lost else "")
    return replace(value, parts=mean_parts(hits.astype(np.float64)))
