"""How often a sampler evaluates the main net."""

from collections.abc import Mapping
from typing import Any

CHAINS = ("ddpm", "ddim")  # samplers of a discrete chain: one evaluation a step


def per_step(sampler: Mapping[str, Any]) -> tuple[int, int]:
    """Evaluations in every step but the last, and in the last one, of a job's sampler.

    Heun evaluates twice, and once in the step to 0; samplers of plugins say it themselves.
    """
    if "evaluations" in sampler:
        each, last = sampler["evaluations"]
        return int(each), int(last)
    return (1, 1) if sampler["name"] in CHAINS else (2, 1)
