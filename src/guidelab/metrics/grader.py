"""Lower bounds on divergences from the logits of a discriminator that never saw these points.

The logit estimates log(p/q) up to training, so every number here grades samples through that discriminator:
bounds hold in expectation and only on held-out points of **both** sides; on its training points they are
bounds of nothing.
"""

import numpy as np
from scipy.special import log_expit, logsumexp

from guidelab.metrics.value import (
    NOT_ESTIMABLE,
    ArrayLike,
    Float64,
    Value,
    as_vector,
    judge_tail,
    std_error,
    with_note,
)


def grade(
    *, logits_at_data: ArrayLike, logits_at_model: ArrayLike, prior_data: float = 0.5
) -> dict[str, Value]:
    """Bounds, accuracy and calibration from held-out logits.

    Args:
        logits_at_data: [N] discriminator logits of real points.
        logits_at_model: [M] of generated points.
        prior_data: share of real points in the discriminator's training batches; its log-odds are subtracted.

    Returns:
        grader_js: log 2 - balanced mean cross-entropy <= JS(p||q).
        grader_kl_dv: E_p[l] - log E_q[exp l] <= KL(p||q) (Donsker-Varadhan).
        grader_kl_nwj: 1 + E_p[l] - E_q[exp l] <= KL(p||q) (Nguyen-Wainwright-Jordan), never above the former.
        grader_accuracy: balanced accuracy of the sign of l, ties count half; total variation >= 2 accuracy - 1.
        grader_ratio_mean: E_q[exp l], 1 for a calibrated ratio.

    Raises:
        ValueError: wrong shapes, prior outside (0, 1), or a logit that is not finite.
    """
    if not 0 < prior_data < 1:
        raise ValueError(f"prior_data = {prior_data}: wanted a share between 0 and 1")
    odds = np.log(prior_data) - np.log1p(-prior_data)
    data = as_vector(logits_at_data, "logits_at_data") - odds
    model = as_vector(logits_at_model, "logits_at_model") - odds
    for side, name in ((data, "logits_at_data"), (model, "logits_at_model")):
        if not np.isfinite(side).all():
            raise ValueError(f"{name}: {int((~np.isfinite(side)).sum())} of {len(side)} are not finite")
    ratio = np.exp(np.clip(model, None, 600.0))  # r = p/q at the model's points
    ess, note = judge_tail(ratio)
    return {
        "grader_js": _balanced(np.log(2) + log_expit(data), np.log(2) + log_expit(-model)),
        "grader_kl_dv": _donsker_varadhan(data, model, ratio, ess, note),
        "grader_kl_nwj": Value(
            1 + float(data.mean()) - float(ratio.mean()),
            float(np.hypot(std_error(data), std_error(ratio))),
            ess,
            note,
        ),
        "grader_accuracy": _balanced(_right(data), _right(-model)),
        "grader_ratio_mean": Value(float(ratio.mean()), std_error(ratio), ess, note),
    }


def _balanced(data: Float64, model: Float64) -> Value:
    """Half the mean of each side, for any sizes."""
    error = 0.5 * float(np.hypot(std_error(data), std_error(model)))
    return Value(0.5 * float(data.mean() + model.mean()), error)


def _right(logit: Float64) -> Float64:
    return np.heaviside(logit, 0.5)


def _donsker_varadhan(data: Float64, model: Float64, ratio: Float64, ess: float, note: str) -> Value:
    log_mean = float(logsumexp(model) - np.log(len(model)))
    # First order: the error of log E is the relative error of E.
    relative = std_error(ratio) / float(ratio.mean()) if ratio.mean() > 0 else float("nan")
    value = Value(float(data.mean()) - log_mean, float(np.hypot(std_error(data), relative)), ess, note)
    if not np.isfinite(relative):
        value = with_note(value, f"{NOT_ESTIMABLE}: exp(logit) is zero at every generated point")
    return value
