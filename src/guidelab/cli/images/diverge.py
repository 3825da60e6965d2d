"""`guidelab diverge` for images: every estimate of a sampler's divergences, in pixels along sigma and in features."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.cli.diverge import about, write_rows
from guidelab.cli.images.held_out import Subject, null, sampler
from guidelab.cli.images.noised import Noised, denoised, logits, logits_and_shifts, noised
from guidelab.cli.sigma.recalibrated import Recalibrated
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line, Logits
from guidelab.metrics.divergence_weights import weight
from guidelab.metrics.gain import gain, gain_terms_denoised
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.units import log_edges
from guidelab.metrics.value import with_note
from guidelab.train.noisy import Images
from guidelab.train.probe import train_probe

NOTHING = "nothing found on validation: no net was kept"
_ESTIMATES = ("nwj", "dv")  # in features: what holds as a bound


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Estimate for every training seed with a grader; save one row a number."""
    common, rows = about(job), []
    for seed in job["train_seeds"]:
        subject = sampler(job, seed) if "samples" in job["inputs"] else null(job)
        pixels: Iterator[tuple[Line, dict[str, str]]] = ((line, {}) for line in _pixels(job, subject))
        for line, more in (*pixels, *_features(job, subject)):
            told = asdict(line) | asdict(line.value) | {"bound": "yes" if line.bound else "no"}
            rows.append(common | told | more | {"train_seed": seed})
    write_rows(outputs[0], rows)


def _pixels(job: dict[str, Any], subject: Subject) -> Iterator[Line]:
    """Everything the grader says of noisy images, from the lowest noise level it is trained at."""
    asked, (low, high) = job["estimate"], job["sigmas"]
    edges = log_edges(low, high, asked["bins"])
    generator = torch.Generator().manual_seed(asked["seed"])
    fitted = _logits(subject.grader, subject.fitted, low, high, 2 * asked["draws"], generator)
    change, told = report.calibrated(fitted, edges)
    yield from told
    floor = _logits(subject.grader, subject.report, low, low, 1, generator)
    yield from report.estimates(floor, low, low, tag="_raw")
    floor = floor.mapped(change.apply)
    yield from report.estimates(floor, low, low)
    yield from report.two_samples(floor, low, asked["permutations"], asked["seed"])
    points = [
        noised(side, low, high, draws, generator)
        for side, draws in zip(subject.report, _draws(subject.report, asked["draws"]), strict=True)
    ]
    yield from report.checks(_told(subject.grader, points), edges, tag="_raw")
    subject = replace(subject, grader=Recalibrated(subject.grader, change))
    top = _logits(subject.grader, subject.report, high, high, 1, generator)
    at_top = ratio_bounds(logits_at_data=top.at_data, logits_at_model=top.at_model)
    (at_p, shift_p), (at_q, shift_q) = (logits_and_shifts(subject.grader, side) for side in points)
    along = Logits(at_p.numpy(), points[0].sigma.numpy(), at_q.numpy(), points[1].sigma.numpy())
    gaps = [_squares(shift, side) for shift, side in zip((shift_p, shift_q), points, strict=True)]
    same = at_p.shape[1]  # both sides of a mixture at as many noise levels
    level = Logits(
        along.at_data, along.sigma_at_data, along.at_model[:, :same], along.sigma_at_model[:, :same]
    )
    yield from report.integrals(level, gaps[0], gaps[1][:, :same], edges, at_top)
    yield from report.bound_curves(along, edges)
    yield from report.checks(along, edges)
    yield from report.weights(along, None, edges)
    yield from _gains(subject, points[0], along, shift_p, edges)


def _draws(sides: tuple[Images, Images], draws: int) -> tuple[int, int]:
    """Noise levels an image: samples are fewer than real images, so each is seen at more."""
    return draws, draws * max(1, len(sides[0]) // len(sides[1]))


def _logits(
    grader: nn.Module,
    sides: tuple[Images, Images],
    low: float,
    high: float,
    draws: int,
    generator: torch.Generator,
) -> Logits:
    """A grader's logits at fresh noise on both sides."""
    return _told(grader, [noised(side, low, high, draws, generator) for side in sides])


def _told(grader: nn.Module, points: list[Noised]) -> Logits:
    """A grader's logits at noisy images of both sides."""
    return Logits(*(v for side in points for v in (logits(grader, side).numpy(), side.sigma.numpy())))


def _squares(shift: Tensor, at: Noised) -> Any:
    """Squared norm of the logit's gradient, `[N, R]` float64."""
    return ((shift.to(torch.float64) ** 2).flatten(2).sum(-1) / at.sigma**4).numpy()


def _gains(subject: Subject, at: Noised, along: Logits, shift: Tensor, edges: Any) -> Iterator[Line]:
    """Decrease of the held-out denoising loss by guidance, by the grader, and by the grader in each divergence's weight.

    The first two are lower bounds of the score error. The last is the gain under a weight that is itself estimated, so
    it bounds nothing: read it for where along sigma a divergence would look.
    """
    drawn = [at.sigma.numpy()]
    moved = denoised(subject.sampler, at)
    changes = {"gain_guidance": (denoised(subject.main, at), moved)} if subject.guided else {}
    changes["gain_grader"] = (moved, moved + shift)
    clean = at.clean[:, None].expand_as(at.x)
    for name, (before, after) in changes.items():
        terms = gain_terms_denoised(sigma=at.sigma, clean=clean, denoised=before, guided=after)
        found = gain(sigma=at.sigma, terms=terms, edges=edges)
        yield from report.curve_lines(name, "score_error", "p", found, drawn, kind="estimate", bound=True)
    for divergence in report.WEIGHED:
        factors = weight(divergence, "p", along.at_data)
        found = gain(sigma=at.sigma, terms=factors * terms, edges=edges)
        yield from report.curve_lines(
            "weighted_gain", divergence, "p", found, drawn, kind="estimate", bound=False
        )


def _features(job: dict[str, Any], subject: Subject) -> Iterator[tuple[Line, dict[str, str]]]:
    """Bounds and two-sample test by a small net in every feature space, of clean images; sigma is 0."""
    asked = job["estimate"]["probe"]
    for name, space in subject.spaces.items():
        found = train_probe(asked, space.real, space.report, asked["seed"], space.more)
        sides = [x[:, None].numpy() for x in (found.at_data, found.at_model)]
        given = Logits(sides[0], 0 * sides[0], sides[1], 0 * sides[1])
        lines = [line for line in report.estimates(given, 0.0, 0.0) if line.estimator in _ESTIMATES]
        lines += report.two_samples(given, 0.0, job["estimate"]["permutations"], asked["seed"])
        for line in lines:
            value = line.value if found.best_at else with_note(line.value, NOTHING)
            told = {"grader_sha256": "", "features_sha256": space.sha256}
            yield replace(line, estimator=f"{line.estimator}@{name}", value=value), told
