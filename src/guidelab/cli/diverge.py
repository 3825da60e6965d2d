"""`guidelab diverge`: every estimate of a sampler's divergences along sigma, held out, each beside its own truth.

The grader is recalibrated in every noise bin where that helps, on other points than those reported; rows of the grader
as it was trained end in `_raw`.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from guidelab.assemble import nets_sha256
from guidelab.cli.sigma import repeats
from guidelab.cli.sigma.evaluate import Noisy, denoised, logits, logits_and_gradients, noisy, true_scores
from guidelab.cli.sigma.recalibrated import Recalibrated
from guidelab.cli.sigma.subject import Subject, null, sampler
from guidelab.io import sha256, torch_version, write_csv
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line, Logits
from guidelab.metrics.gain import gain, gain_terms_denoised, score_error_difference, score_error_terms
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.units import log_edges

COLUMNS = [
    "experiment", "scale", "point", "seed_blocks", "reference_split", "train_seed", "kind", "estimator", "divergence",
    "measure", "sigma_lo", "sigma_hi", "value", "std_error", "ess", "n", "bound", "unit", "note", "code",
    "checkpoint_sha256", "grader_sha256", "features_sha256", "torch",
]  # fmt: skip


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Estimate for every training seed with a grader; save one row a number."""
    common = about(job)
    rows = []
    for seed in job["train_seeds"]:
        subject = sampler(job, seed) if "samples" in job["inputs"] else null(job)
        for line in _lines(job, subject):
            told = asdict(line) | asdict(line.value) | {"bound": "yes" if line.bound else "no"}
            rows.append(common | told | {"train_seed": seed})
    write_rows(outputs[0], rows)


def about(job: dict[str, Any]) -> dict[str, Any]:
    """The columns that all rows of a job share."""
    nets = nets_sha256(job["inputs"])
    joined = hashlib.sha256(json.dumps(nets, sort_keys=True).encode()).hexdigest()[:16] if nets else ""
    return {key: job[key] for key in ("experiment", "scale", "point", "code", "reference_split")} | {
        "seed_blocks": " ".join(job["report"]) if "samples" in job["inputs"] else "",
        "grader_sha256": sha256(job["inputs"]["grader"][0])[:16],
        "features_sha256": "",
        "checkpoint_sha256": joined,
        "torch": torch_version(),
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Save rows with six digits."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("sigma_lo", "sigma_hi", "value", "std_error", "ess"):
        table[name] = table[name].map(lambda v: v if v is None else float(f"{v:.6g}"))
    write_csv(path, table)


def _lines(job: dict[str, Any], subject: Subject) -> Iterator[Line]:
    """Everything about one subject, in the order of `divergence_report`."""
    asked, (low, high) = job["estimate"], job["sigmas"]
    edges, lowest = log_edges(low, high, asked["bins"]), job["sampler"]["sigma_min"]
    generator = torch.Generator().manual_seed(asked["seed"])
    for name, value in subject.truth.items():
        yield Line("truth", "exact", name, "m", lowest, lowest, value, len(subject.report[1]))
    fitted = _logits(subject.grader, subject.fitted, low, high, asked["draws"], generator)
    change, told = report.calibrated(fitted, edges)
    yield from told
    floor = _logits(subject.grader, subject.report, lowest, lowest, 1, generator)
    yield from report.estimates(floor, lowest, lowest, tag="_raw")
    floor = floor.mapped(change.apply)
    yield from report.estimates(floor, lowest, lowest)
    yield from report.two_samples(floor, lowest, asked["permutations"], asked["seed"])
    points = [noisy(side, low, high, asked["draws"], generator) for side in subject.report]
    yield from report.checks(_told(subject.grader, points), edges, tag="_raw")
    subject = replace(subject, grader=Recalibrated(subject.grader, change))
    top = _logits(subject.grader, subject.report, high, high, 1, generator)
    at_top = ratio_bounds(logits_at_data=top.at_data, logits_at_model=top.at_model)
    (at_p, slope_p), (at_q, slope_q) = (logits_and_gradients(subject.grader, side) for side in points)
    along = Logits(at_p.numpy(), points[0].sigma.numpy(), at_q.numpy(), points[1].sigma.numpy())
    gaps = [(slope**2).sum(-1).numpy() for slope in (slope_p, slope_q)]
    yield from report.integrals(along, gaps[0], gaps[1], edges, at_top)
    yield from report.bound_curves(along, edges)
    yield from report.checks(along, edges)
    yield from _scores(subject, points[0], along, slope_p, edges)
    if asked["coverage"]:
        yield from repeats.coverage(asked, subject, lowest, (low, high), edges)


def _logits(
    grader: nn.Module,
    sides: tuple[Tensor, Tensor],
    low: float,
    high: float,
    draws: int,
    generator: torch.Generator,
) -> Logits:
    """A grader's logits at fresh noise on both sides."""
    return _told(grader, [noisy(side, low, high, draws, generator) for side in sides])


def _told(grader: nn.Module, points: list[Noisy]) -> Logits:
    """A grader's logits at noisy points of both sides."""
    return Logits(*(v for side in points for v in (logits(grader, side).numpy(), side.sigma.numpy())))


def _scores(subject: Subject, at: Noisy, along: Logits, slope: Tensor, edges: Any) -> Iterator[Line]:
    """Score errors of main net and sampler, weights, and the gains of guidance and grader with their targets."""
    drawn, truth = [at.sigma.numpy()], true_scores(subject.data, at)
    main, moved = denoised(subject.main, at), denoised(subject.sampler, at)
    level2 = at.sigma[..., None] ** 2
    scores = {"main": (main - at.x) / level2, "sampler": (moved - at.x) / level2}
    for name, score in scores.items():
        terms = score_error_terms(sigma=at.sigma, true_score=truth, score=score)
        if subject.real:  # rounding, and nothing else
            continue
        found = sigma_curve(sigma=at.sigma, contribution=terms, edges=edges)
        told = {"kind": "truth", "bound": False}
        yield from report.curve_lines(f"score_error_{name}", "score_error", "p", found, drawn, **told)  # type: ignore[arg-type]
    yield from report.weights(along, None if subject.real else terms, edges)
    changes = {"gain_guidance": (main, moved)} if subject.guided else {}
    changes["gain_grader"] = (moved, moved + level2 * slope)
    clean = at.clean[:, None].expand_as(at.x)
    for name, (before, after) in changes.items():
        terms = gain_terms_denoised(sigma=at.sigma, clean=clean, denoised=before, guided=after)
        found = gain(sigma=at.sigma, terms=terms, edges=edges)
        yield from report.curve_lines(name, "score_error", "p", found, drawn, kind="estimate", bound=True)
        exact = score_error_difference(
            sigma=at.sigma,
            true_score=truth,
            score=(before - at.x) / level2,
            guidance=(after - before) / level2,
            edges=edges,
        )
        yield from report.curve_lines(
            f"{name}_target", "score_error", "p", exact, drawn, kind="target", bound=False
        )
