"""`guidelab diverge`: every estimate of a sampler's divergences along sigma, held out, each beside its own truth."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from guidelab.assemble import nets_sha256
from guidelab.cli.sigma import repeats
from guidelab.cli.sigma.evaluate import Noisy, denoised, logits, logits_and_gradients, noisy, true_scores
from guidelab.cli.sigma.subject import Subject, null, sampler
from guidelab.io import sha256, torch_version, write_csv
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line, Logits
from guidelab.metrics.gain import gain, gain_terms_denoised, score_error_difference, score_error_terms
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.units import log_edges

COLUMNS = [
    "experiment", "scale", "point", "train_seed", "kind", "estimator", "divergence", "measure", "sigma_lo", "sigma_hi",
    "value", "std_error", "ess", "n", "bound", "unit", "note", "code", "checkpoint_sha256", "grader_sha256", "torch",
]  # fmt: skip


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Estimate for every training seed with a grader; save one row a number."""
    common = {key: job[key] for key in ("experiment", "scale", "point", "code")}
    common |= {"grader_sha256": sha256(job["inputs"]["grader"][0])[:16], "torch": torch_version()}
    nets = json.dumps(nets_sha256(job["inputs"]), sort_keys=True)
    common["checkpoint_sha256"] = hashlib.sha256(nets.encode()).hexdigest()[:16]
    rows = []
    for seed in job["train_seeds"]:
        subject = null(job) if job["point"] == "null" else sampler(job, seed)
        for line in _lines(job, subject):
            told = asdict(line) | asdict(line.value) | {"bound": "yes" if line.bound else "no"}
            rows.append(common | told | {"train_seed": seed})
    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("sigma_lo", "sigma_hi", "value", "std_error", "ess"):
        table[name] = table[name].map(lambda v: v if v is None else float(f"{v:.6g}"))
    write_csv(outputs[0], table)


def _lines(job: dict[str, Any], subject: Subject) -> Iterator[Line]:
    """Everything about one subject, in the order of `divergence_report`."""
    asked, (low, high) = job["estimate"], job["sigmas"]
    edges, lowest = log_edges(low, high, asked["bins"]), job["sampler"]["sigma_min"]
    generator = torch.Generator().manual_seed(asked["seed"])
    for name, value in subject.truth.items():
        yield Line("truth", "exact", name, "m", lowest, lowest, value, len(subject.report[1]))
    floor = _logits(subject, subject.report, lowest, lowest, 1, generator)
    yield from report.estimates(floor, lowest, lowest)
    fitted = _logits(subject, subject.fitted, low, high, asked["draws"], generator)
    change, told = report.calibrated(fitted, edges)
    yield from told
    yield from report.estimates(floor.mapped(change), lowest, lowest, tag="_calibrated")
    yield from report.two_samples(floor, lowest, asked["permutations"], asked["seed"])
    top = _logits(subject, subject.report, high, high, 1, generator)
    at_top = ratio_bounds(logits_at_data=top.at_data, logits_at_model=top.at_model)
    points = [noisy(side, low, high, asked["draws"], generator) for side in subject.report]
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
    subject: Subject,
    sides: tuple[Tensor, Tensor],
    low: float,
    high: float,
    draws: int,
    generator: torch.Generator,
) -> Logits:
    """The grader's logits at fresh noise on both sides."""
    made = [noisy(side, low, high, draws, generator) for side in sides]
    found = [value for side in made for value in (logits(subject.grader, side).numpy(), side.sigma.numpy())]
    return Logits(*found)


def _scores(subject: Subject, at: Noisy, along: Logits, slope: Tensor, edges: Any) -> Iterator[Line]:
    """Score errors of main net and sampler, weights, and the gains of guidance and grader with their targets."""
    n, truth = len(at.clean), true_scores(subject.data, at)
    main, moved = denoised(subject.main, at), denoised(subject.sampler, at)
    level2 = at.sigma[..., None] ** 2
    scores = {"main": (main - at.x) / level2, "sampler": (moved - at.x) / level2}
    for name, score in scores.items():
        terms = score_error_terms(sigma=at.sigma, true_score=truth, score=score)
        if subject.real:  # rounding, and nothing else
            continue
        found = sigma_curve(sigma=at.sigma, contribution=terms, edges=edges)
        told = {"kind": "truth", "bound": False}
        yield from report.curve_lines(f"score_error_{name}", "score_error", "p", found, n, **told)  # type: ignore[arg-type]
    yield from report.weights(along, None if subject.real else terms, edges)
    changes = {"gain_guidance": (main, moved)} if subject.guided else {}
    changes["gain_grader"] = (moved, moved + level2 * slope)
    clean = at.clean[:, None].expand_as(at.x)
    for name, (before, after) in changes.items():
        terms = gain_terms_denoised(sigma=at.sigma, clean=clean, denoised=before, guided=after)
        found = gain(sigma=at.sigma, terms=terms, edges=edges)
        yield from report.curve_lines(name, "score_error", "p", found, n, kind="estimate", bound=True)
        exact = score_error_difference(
            sigma=at.sigma,
            true_score=truth,
            score=(before - at.x) / level2,
            guidance=(after - before) / level2,
            edges=edges,
        )
        yield from report.curve_lines(
            f"{name}_target", "score_error", "p", exact, n, kind="target", bound=False
        )
