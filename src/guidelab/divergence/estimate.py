"""All divergence estimates of one sampler: at the lowest noise level, along sigma and in features, with exact values if known.

The grader is recalibrated in every noise bin where that helps, on other examples than those reported; lines of the
grader as it was trained end in `_raw`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guidelab.divergence import repeats
from guidelab.divergence.gains import score_lines
from guidelab.divergence.noisy import NoisyBatch, logits, logits_and_shifts, noisy
from guidelab.divergence.recalibrated import Recalibrated
from guidelab.divergence.subject import Sides, Subject
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line, Logits
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.units import log_edges
from guidelab.metrics.value import Float64, with_note
from guidelab.train.probe import train_probe

NOTHING = "nothing found on validation: no net was kept"
_IN_FEATURES = ("nwj", "dv")  # what holds as a bound


def estimate(settings: Mapping[str, Any], sigmas: tuple[float, float], subject: Subject) -> Iterator[Line]:
    """Everything about one subject, in the order of `divergence_report`.

    Args:
        settings: `bins`, `draws`, `permutations`, `seed`, and `coverage` and `probe` where they are given
            (`spec.divergences.Divergences`).
        sigmas: the range of noise levels the grader is trained at.
        subject: what is graded.
    """
    (low, high), exact = sigmas, subject.exact
    lowest, edges = exact.sigma if exact else low, log_edges(low, high, settings["bins"])
    generator = torch.Generator().manual_seed(settings["seed"])
    for name, value in exact.truth.items() if exact else ():
        yield Line("truth", "exact", name, "m", lowest, lowest, value, len(subject.report[1]))
    draws = (
        settings["draws"] if exact else 2 * settings["draws"]
    )  # examples that cannot be drawn at will are few
    change, checks = report.calibrated(_fresh(subject, subject.fitted, low, high, draws, generator), edges)
    yield from checks
    floor = _fresh(subject, subject.report, lowest, lowest, 1, generator)
    yield from report.estimates(floor, lowest, lowest, tag="_raw")
    floor = floor.mapped(change.apply)
    yield from report.estimates(floor, lowest, lowest)
    yield from report.two_samples(floor, lowest, settings["permutations"], settings["seed"])
    points = [
        noisy(side, low, high, draws, generator)
        for side, draws in zip(subject.report, _draws(subject.report, settings["draws"]), strict=True)
    ]
    yield from report.checks(_logits(subject, points), edges, tag="_raw")
    subject = replace(subject, grader=Recalibrated(subject.grader, change))
    top = _fresh(subject, subject.report, high, high, 1, generator)
    yield from _along(subject, points, edges, top)
    if exact and settings["coverage"]:
        yield from repeats.coverage(settings["coverage"], subject, exact, sigmas, edges)
    yield from _features(settings, subject)


def _draws(sides: Sides, draws: int) -> tuple[int, int]:
    """Noise levels an example: where samples are fewer than real examples, each is seen at more."""
    return draws, draws * max(1, len(sides[0]) // len(sides[1]))


def _fresh(
    subject: Subject, sides: Sides, low: float, high: float, draws: int, generator: torch.Generator
) -> Logits:
    """The grader's logits at fresh noise on both sides."""
    return _logits(subject, [noisy(side, low, high, draws, generator) for side in sides])


def _logits(subject: Subject, points: list[NoisyBatch]) -> Logits:
    """The grader's logits at noisy examples of both sides."""
    found = [(logits(subject.grader, side, subject.where), side.sigma) for side in points]
    return Logits(*(v.numpy() for pair in found for v in pair))


def _along(subject: Subject, points: list[NoisyBatch], edges: Float64, top: Logits) -> Iterator[Line]:
    """Curves along sigma by the recalibrated grader: integrals, bounds, checks, weights, score errors and gains."""
    at_top = ratio_bounds(logits_at_data=top.at_data, logits_at_model=top.at_model)
    (at_p, shift_p), (at_q, shift_q) = (
        logits_and_shifts(subject.grader, side, subject.where) for side in points
    )
    along = Logits(at_p.numpy(), points[0].sigma.numpy(), at_q.numpy(), points[1].sigma.numpy())
    gaps = [_squares(shift, side) for shift, side in zip((shift_p, shift_q), points, strict=True)]
    same = at_p.shape[1]  # both sides of a mixture at as many noise levels
    yield from report.integrals(along.first(same), gaps[0], gaps[1][:, :same], edges, at_top)
    yield from report.bound_curves(along, edges)
    yield from report.checks(along, edges)
    yield from score_lines(subject, points[0], along, shift_p, edges)


def _squares(shift: Tensor, at: NoisyBatch) -> Float64:
    """Squared norm of the logit's gradient, `[N, R]` float64."""
    found: Float64 = ((shift.to(torch.float64) ** 2).flatten(2).sum(-1) / at.sigma**4).numpy()
    return found


def _features(settings: Mapping[str, Any], subject: Subject) -> Iterator[Line]:
    """Bounds and two-sample test by a small net in every feature space, of clean examples; sigma is 0."""
    for name, space in subject.spaces.items():
        probe = settings["probe"]
        found = train_probe(probe, space.real, space.report, probe["seed"], space.more)
        sides = [x[:, None].numpy() for x in (found.at_data, found.at_model)]
        given = Logits(sides[0], 0 * sides[0], sides[1], 0 * sides[1])
        lines = [line for line in report.estimates(given, 0.0, 0.0) if line.estimator in _IN_FEATURES]
        lines += report.two_samples(given, 0.0, settings["permutations"], probe["seed"])
        for line in lines:
            value = line.value if found.best_at else with_note(line.value, NOTHING)
            yield replace(line, estimator=f"{line.estimator}@{name}", value=value)
