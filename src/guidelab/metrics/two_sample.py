"""Classifier two-sample test (C2ST) on held-out scores.

Scores are higher for data. Rows must be independent: one score per image (average an image's noise levels first).
**Bound property**, in expectation on held-out points: total variation >= 2 accuracy - 1, and >= 1 - sqrt(2 (1 - AUC))
at the expected AUC (no ROC curve lies above false positives + total variation). No units: both are probabilities.

Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545; Phipson and Smyth 2010 for the p-value; DeLong et al. 1988 for
the error of the AUC.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from guidelab.metrics.value import ArrayLike, Float64, Value, as_vector, std_error

Statistic = Literal["accuracy", "auc"]


@dataclass(frozen=True)
class TwoSample:
    """A statistic and how often shuffled labels reach it.

    Attributes:
        statistic: balanced accuracy of the sign, or AUC; 1/2 for equal laws.
        p_value: (1 + count) / (1 + permutations), count of shuffles that reach the statistic or exceed it. Valid at any
            number of permutations, never 0; with ties it is conservative.
        permutations: number of shuffles.
    """

    statistic: Value
    p_value: float
    permutations: int


def accuracy(*, scores_at_data: ArrayLike, scores_at_model: ArrayLike) -> Value:
    """Mean of both sides' shares on the right side of 0, ties half; total variation >= 2 accuracy - 1."""
    data, model = _sides(scores_at_data, scores_at_model)
    right, wrong = np.heaviside(data, 0.5), np.heaviside(model, 0.5)
    error = 0.5 * float(np.hypot(std_error(right), std_error(wrong)))
    return Value(0.5 * float(right.mean() + 1 - wrong.mean()), error)


def auc(*, scores_at_data: ArrayLike, scores_at_model: ArrayLike) -> Value:
    """P(score at data > score at model), ties half: the area under the ROC curve.

    Does not depend on the threshold or the prior. Standard error by DeLong's placement values.
    """
    data, model = _sides(scores_at_data, scores_at_model)
    ranks = rankdata(np.concatenate([data, model]))
    n, m = len(data), len(model)
    beaten = (ranks[:n] - rankdata(data)) / m  # share of model points below each data point
    beating = 1 - (ranks[n:] - rankdata(model)) / n
    return Value(float(beaten.mean()), float(np.hypot(std_error(beaten), std_error(beating))))


def two_sample_test(
    *,
    scores_at_data: ArrayLike,
    scores_at_model: ArrayLike,
    permutations: int,
    seed: int,
    statistic: Statistic = "accuracy",
) -> TwoSample:
    """One-sided permutation test that held-out scores distinguish data from model points.

    Args:
        scores_at_data: [N], of points that trained nothing.
        scores_at_model: [M]; the statistic is balanced for any N and M.
        permutations: 999 gives p-values down to 0.001.
        seed: of the shuffles.
        statistic: "accuracy" at threshold 0 (scores are log-ratios), or "auc", which needs no threshold.

    Raises:
        ValueError: no permutation, an unknown statistic, wrong shapes, or a score that is not finite.
    """
    if permutations < 1 or statistic not in ("accuracy", "auc"):
        raise ValueError(
            f"two_sample_test: {permutations} permutations of {statistic!r}; wanted one or more of accuracy or auc"
        )
    data, model = _sides(scores_at_data, scores_at_model)
    both = np.concatenate([data, model])
    rng = np.random.default_rng(seed)
    # Both statistics grow with the sum of per-point terms over the points labelled data; half-integers add exactly.
    if statistic == "accuracy":
        terms = np.heaviside(both, 0.5)
        counts = [int((terms == step).sum()) for step in (0.0, 0.5, 1.0)]
        drawn = rng.multivariate_hypergeometric(counts, len(data), size=permutations, method="marginals")
        shuffled = drawn @ np.array([0.0, 0.5, 1.0])
        found = accuracy(scores_at_data=data, scores_at_model=model)
    else:
        terms = rankdata(both)
        shuffled = np.array([rng.permutation(terms)[: len(data)].sum() for _ in range(permutations)])
        found = auc(scores_at_data=data, scores_at_model=model)
    reached = int((shuffled >= terms[: len(data)].sum()).sum())
    return TwoSample(found, (1 + reached) / (1 + permutations), permutations)


def _sides(data: ArrayLike, model: ArrayLike) -> tuple[Float64, Float64]:
    sides = as_vector(data, "scores_at_data"), as_vector(model, "scores_at_model")
    for side, name in zip(sides, ("scores_at_data", "scores_at_model"), strict=True):
        if not np.isfinite(side).all():
            raise ValueError(f"{name}: {int((~np.isfinite(side)).sum())} of {len(side)} are not finite")
    return sides
