"""The estimates again and again on fresh points: how often their intervals hold what they estimate."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidelab.cli.sigma.evaluate import Noisy, denoised, logits, logits_and_gradients, noisy, true_scores
from guidelab.cli.sigma.subject import Subject
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line
from guidelab.metrics.gain import gain, gain_terms_denoised, score_error_terms
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.sigma_curve import sigma_curve

BOUNDS = ("kl_nwj", "kl_dv", "kl_reverse_nwj", "js_nwj", "chi2_nwj", "hellinger2_nwj")
_EVERY = 4  # of the points, one in so many is asked for its true score, the costliest part


def coverage(
    asked: dict[str, Any], subject: Subject, lowest: float, sigmas: tuple[float, float], edges: Any
) -> Iterator[Line]:
    """Lines of kind `coverage` and `above truth` for the bounds at the lowest noise level and for the gains.

    What a bound estimates is its own mean, taken from all repeats together: one repeat is 1/draws of it. What a gain
    estimates is the exact difference of score errors at the same points, whose noise is another.
    """
    told = asked["coverage"]
    generator = torch.Generator().manual_seed(told["seed"])
    real = [subject.data.draw(told["n_real"], generator) for _ in range(told["draws"])]
    samples = subject.draw(*told["seeds"]).view(told["draws"], told["n_samples"], -1)
    yield from _bounds(subject, [x[: told["n_samples"]] for x in real], list(samples), lowest, generator)
    points = [noisy(x, *sigmas, 1, generator) for x in real]
    yield from _gains(subject, points, edges)


def _bounds(
    subject: Subject, real: list[Tensor], samples: list[Tensor], lowest: float, generator: torch.Generator
) -> Iterator[Line]:
    pairs = []
    for data, model in zip(real, samples, strict=True):
        kept = model[torch.isfinite(model).all(dim=1)]
        sides = [noisy(x, lowest, lowest, 1, generator) for x in (data, kept)]
        pairs.append([logits(subject.grader, side).numpy() for side in sides])
    found = [ratio_bounds(logits_at_data=a, logits_at_model=b) for a, b in pairs]
    everything = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    pooled = ratio_bounds(logits_at_data=everything[0], logits_at_model=everything[1])
    for name in BOUNDS:
        divergence, _, estimator = name.rpartition("_")
        like = Line("", estimator, divergence, "p and q", lowest, lowest, pooled[name], len(real[0]), True)
        exact = subject.truth.get(divergence)
        usable = exact.value if exact is not None and exact.estimable else None
        yield from report.coverage([values[name] for values in found], pooled[name], like=like, truth=usable)


def _gains(subject: Subject, points: list[Noisy], edges: Any) -> Iterator[Line]:
    """Coverage of the gain of guidance, where something guides, and of the grader's."""
    stacked = Noisy(
        *(torch.cat([getattr(p, name) for p in points]) for name in ("clean", "sigma", "eps", "x"))
    )
    main, moved = denoised(subject.main, stacked), denoised(subject.sampler, stacked)
    level2 = stacked.sigma[..., None] ** 2
    slope = logits_and_gradients(subject.grader, stacked)[1]
    changes = {"gain_guidance": (main, moved)} if subject.guided else {}
    changes["gain_grader"] = (moved, moved + level2 * slope)
    few = Noisy(*(getattr(stacked, name)[::_EVERY] for name in ("clean", "sigma", "eps", "x")))
    truth, clean = true_scores(subject.data, few), stacked.clean[:, None].expand_as(stacked.x)
    n = len(points[0].clean)
    for name, (before, after) in changes.items():
        terms = gain_terms_denoised(sigma=stacked.sigma, clean=clean, denoised=before, guided=after)
        found = [
            gain(sigma=point.sigma, terms=part, edges=edges).total
            for point, part in zip(points, np.split(terms, len(points)), strict=True)
        ]
        score, change = (((b - a) / level2)[::_EVERY] for a, b in ((stacked.x, before), (before, after)))
        exact, whole = (
            sigma_curve(
                sigma=few.sigma,
                contribution=score_error_terms(sigma=few.sigma, true_score=truth, score=score, guidance=c),
                edges=edges,
            ).total
            for c in (change, None)
        )
        like = Line("", name, "score_error", "p", float(edges[0]), float(edges[-1]), exact, n, True)
        yield from report.coverage(found, exact, like=like, truth=0.0 if subject.real else whole.value)
