"""Coverage of the estimates' intervals: repeat the estimation on fresh points and count."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidelab.divergence.gains import changes, gain_terms
from guidelab.divergence.noisy import (
    Examples,
    NoisyBatch,
    denoised,
    level2,
    logits,
    logits_and_shifts,
    noisy,
    true_scores,
)
from guidelab.divergence.subject import Exact, Subject
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line
from guidelab.metrics.gain import gain, score_error_terms
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.value import Float64

BOUNDS = ("kl_nwj", "kl_dv", "kl_reverse_nwj", "js_nwj", "chi2_nwj", "hellinger2_nwj")
_EVERY = 4  # of the points, one in so many gets its true score, the costliest part


def coverage(
    settings: Mapping[str, Any], subject: Subject, exact: Exact, sigmas: tuple[float, float], edges: Float64
) -> Iterator[Line]:
    """Lines of kind `coverage` and `above truth` for the bounds at the lowest noise level and for the gains.

    What a bound estimates is its own mean, taken from all repeats together: one repeat is 1/draws of it. What a gain
    estimates is the exact difference of score errors at the same points, whose noise is another.

    Args:
        settings: `draws`, `n_real`, `n_samples`, `seeds`, `seed` (`spec.divergences.Coverage`).
        subject: what is graded, its grader recalibrated.
        exact: its dataset and truths.
        sigmas, edges: the range of noise levels and its bins.
    """
    generator = torch.Generator().manual_seed(settings["seed"])
    real = [_examples(exact.data.draw(settings["n_real"], generator)) for _ in range(settings["draws"])]
    drawn = exact.draw(*settings["seeds"])
    samples = drawn.view(settings["draws"], settings["n_samples"], *drawn.shape[1:])
    few = [side[: settings["n_samples"]] for side in real]
    yield from _bounds(subject, exact, few, list(samples), generator)
    points = [noisy(side, *sigmas, 1, generator) for side in real]
    yield from _gains(subject, exact, points, edges)


def _examples(x: Tensor) -> Examples:
    return Examples(x.to(torch.float64))


def _bounds(
    subject: Subject, exact: Exact, real: list[Examples], samples: list[Tensor], generator: torch.Generator
) -> Iterator[Line]:
    pairs, lowest = [], exact.sigma
    for data, model in zip(real, samples, strict=True):
        kept = _examples(model[torch.isfinite(model).flatten(1).all(dim=1)])
        sides = [noisy(side, lowest, lowest, 1, generator) for side in (data, kept)]
        pairs.append([logits(subject.grader, side, subject.where).numpy() for side in sides])
    found = [ratio_bounds(logits_at_data=a, logits_at_model=b) for a, b in pairs]
    everything = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    pooled = ratio_bounds(logits_at_data=everything[0], logits_at_model=everything[1])
    for name in BOUNDS:
        divergence, _, estimator = name.rpartition("_")
        like = Line("", estimator, divergence, "p and q", lowest, lowest, pooled[name], len(real[0]), True)
        truth = exact.truth.get(divergence)
        usable = truth.value if truth is not None and truth.estimable else None
        yield from report.coverage([values[name] for values in found], pooled[name], like=like, truth=usable)


def _gains(subject: Subject, exact: Exact, points: list[NoisyBatch], edges: Float64) -> Iterator[Line]:
    """Coverage of the gain of guidance, where something guides, and of the grader's."""
    stacked = NoisyBatch.joined(points)
    main, moved = (denoised(net, stacked, subject.where) for net in (subject.main, subject.sampler))
    shift = logits_and_shifts(subject.grader, stacked, subject.where)[1]
    few, n = stacked[::_EVERY], len(points[0].clean)
    truth, scale = true_scores(exact.data, few), level2(stacked)
    for name, (before, after) in changes(subject, main, moved, shift).items():
        parts = np.split(gain_terms(stacked, before, after), len(points))
        found = [
            gain(sigma=point.sigma, terms=part, edges=edges).total
            for point, part in zip(points, parts, strict=True)
        ]
        score, change = (((b - a) / scale)[::_EVERY] for a, b in ((stacked.x, before), (before, after)))
        target, whole = (
            sigma_curve(
                sigma=few.sigma,
                contribution=score_error_terms(sigma=few.sigma, true_score=truth, score=score, guidance=c),
                edges=edges,
            ).total
            for c in (change, None)
        )
        like = Line("", name, "score_error", "p", float(edges[0]), float(edges[-1]), target, n, True)
        yield from report.coverage(found, target, like=like, truth=0.0 if exact.zero else whole.value)
