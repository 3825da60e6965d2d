"""Evaluations of a net by a sampler, with guidance restricted to an interval of noise levels."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from guidelab import registry
from guidelab.core.chain import respaced, schedule_of
from guidelab.core.schedules import edm_sigmas
from guidelab.errors import UserError


def evaluations(
    sampler: Mapping[str, Any], low: float = 0.0, high: float | None = None, first: bool = False
) -> int:
    """Evaluations of one net during one sample, in the steps that start in `(low, high]`.

    Args:
        sampler: a job's sampler.
        low, high: the interval of noise levels; no upper end when None.
        first: the first evaluation of each step only.
    Raises:
        UserError: a chain that cannot have so many steps.
    """
    on = [
        low < sigma and (high is None or sigma <= high)
        for sigma in _starts(json.dumps(sampler, sort_keys=True))
    ]
    each, last = (1, 1) if first else registry.evaluations(sampler)
    return each * sum(on[:-1]) + last * on[-1]


@cache
def _starts(text: str) -> list[float]:
    """The noise level each step starts from, descending, in sigma's units."""
    sampler = json.loads(text)
    if registry.SAMPLERS[sampler["name"]].needs == "chain":
        spacing = f"ddim{sampler['steps']}" if sampler["name"] == "ddim" else sampler["steps"]
        try:
            chain = respaced(schedule_of(sampler["schedule"]), spacing)
        except ValueError as error:
            raise UserError(f"sampler {sampler['name']} with {sampler['steps']} steps: {error}") from error
        return [float(sigma) for sigma in chain.sigmas[:-1]]
    keys = ("steps", "sigma_min", "sigma_max", "rho")
    return [float(sigma) for sigma in edm_sigmas(*(sampler[key] for key in keys))[:-1]]
