"""Work of the jobs about divergences: the null discriminator, and the estimates of a point along sigma.

Counted as the jobs evaluate nets: noise levels come with both signs of the noise, so `draws` levels a point are twice
as many evaluations. Permutations, intervals and the exact density of the 2D example are left out.
"""

import math
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from guidelab import registry
from guidelab.costs import configs, flops, samples
from guidelab.costs.training import learning
from guidelab.costs.work import Work
from guidelab.plan.job import Job
from guidelab.spec import Experiment

_SIGNS = 2  # of the noise at every level


def null(e: Experiment, job: Job) -> Work:
    """A grader as any other, on two folds of real data, or on two parts of one."""
    examples = sum(configs.fold_size(e, PurePosixPath(path).stem) for path in job.files)
    return learning(e, job.spec["disc"], job.spec["train"], 1, examples)


@dataclass(frozen=True)
class _Counts:
    """How often what is evaluated: the grader, the grader's gradient, denoisers, and whole samples drawn."""

    grader: int
    gradient: int
    denoised: int
    drawn: int = 0


def diverge(e: Experiment, job: Job) -> Work:
    """Estimates at the ends and along sigma, calibrated, with gains, and their repeats where they are requested."""
    spec, estimate = job.spec, job.spec["estimate"]
    grader = flops.count(configs.disc_config(e, estimate["grader"]))
    counts, seeds = _counts(e, job), len(spec["train_seeds"])
    evaluations = {"grader": counts.grader, "grader gradient": counts.gradient}
    flop = counts.grader * grader.forward + counts.gradient * grader.gradient
    if "main" in spec:  # the null of points is denoised exactly
        net = flops.count(configs.model_config(e, spec["main"]))
        times = counts.denoised * (2 if spec["terms"] else 1)  # the main net alone, and inside the sampler
        evaluations["main"], flop = times, flop + times * net.forward
        for term in spec["terms"]:
            kind, one = _term(e, term)
            if not one:
                continue
            on = round(counts.denoised * _share(term, *spec["sigmas"]))
            evaluations[kind] = evaluations.get(kind, 0) + on
            flop += on * one
        if counts.drawn:
            blocks = {"blocks": {"drawn": [0, counts.drawn - 1]}, "train_seeds": [0], "grader_blocks": {}}
            work = samples.sample(e, replace(job, rule="sample", spec={**spec, **blocks}))
            flop += work.flop
            for kind, count in work.evaluations.items():
                evaluations[kind] = evaluations.get(kind, 0) + count
    flop += _probes(e, spec)
    found = {kind: seeds * count for kind, count in evaluations.items() if count}
    return Work(0, found, seeds * flop, seeds * flop)


def _counts(e: Experiment, job: Job) -> _Counts:
    """The evaluations of one training seed."""
    estimate, draws = job.spec["estimate"], job.spec["estimate"]["draws"]
    real, generated, fitted = _sizes(e, job)
    more = max(1, real // max(generated, 1)) if e.images else 1  # samples are fewer, and seen at more levels
    levels = 2 * draws if e.images else draws  # of the points temperatures are fitted on
    at_ends = 2 * _SIGNS * (real + generated)
    along = _SIGNS * draws * (real + more * generated)  # as it was trained, and recalibrated with gradients
    count = _Counts(at_ends + 2 * fitted * _SIGNS * levels + along, along, _SIGNS * draws * real)
    again = estimate.get("coverage")
    if not again:
        return count
    repeats = again["draws"]
    return _Counts(
        count.grader + repeats * 2 * _SIGNS * again["n_samples"],
        count.gradient + repeats * _SIGNS * again["n_real"],
        count.denoised + repeats * _SIGNS * again["n_real"],
        repeats * again["n_samples"],
    )


def _sizes(e: Experiment, job: Job) -> tuple[int, int, int]:
    """Held-out real examples, samples that are reported, and examples of either side that temperatures are fitted on."""
    spec, n = job.spec, configs.fold_size(e, PurePosixPath(job.inputs["real"][0]).stem)
    if "blocks" not in spec:
        return n // 4, n // 4, n // 4  # the null of points: quarters of its fold
    sizes = {name: last - first + 1 for name, (first, last) in spec["blocks"].items()}
    generated, fitted = sum(sizes[name] for name in spec["report"]), sizes[spec["calibrate"]]
    taken = 2 * fitted + generated if "samples" not in job.inputs else fitted
    return max(n - taken, 0), generated, fitted


def _term(e: Experiment, term: dict[str, Any]) -> tuple[str, float]:
    """What a guidance term evaluates, and the FLOP of one time."""
    entry = registry.METHODS[term["method"]]
    if term["weight"] == entry.neutral or not entry.needs:
        return "reference", 0.0
    if entry.needs == "disc":
        return "gradient", flops.count(configs.disc_config(e, term["disc"])).gradient
    return "reference", flops.count(configs.model_config(e, term["ref"])).forward


def _share(term: dict[str, Any], low: float, high: float) -> float:
    """Of the noise levels, drawn evenly in ln sigma, those inside a term's interval."""
    first, last = max(term["sigma_lo"], low), min(term["sigma_hi"] or high, high)
    if registry.METHODS[term["method"]].neutral == term["weight"]:
        return 0.0
    return max(math.log(last / first) / math.log(high / low), 0.0) if last > first else 0.0


def _probes(e: Experiment, spec: dict[str, Any]) -> float:
    """FLOP of a small net on the features of every space; a way back costs two ways forward."""
    probe = spec["estimate"].get("probe")
    if not probe:
        return 0.0
    found = 0.0
    for name in spec.get("spaces", ()):
        extractor = e.features[name].name or ""
        numbers = 64 if extractor == "trained" else configs.known_extractor(extractor)[2]
        found += 6.0 * probe["iterations"] * probe["batch"] * numbers * probe["hidden"]
    return found
