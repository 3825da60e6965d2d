"""Registered counts of main-net evaluations per sampler."""

from collections.abc import Mapping
from typing import Any

from guidelab.registry.sampling import SAMPLERS


def evaluations(sampler: Mapping[str, Any]) -> tuple[int, int]:
    """Evaluations of the main net in every step but the last, and in the last one.

    Args:
        sampler: its `name`, and `evaluations` where a job has them.
    """
    name = sampler["name"]
    if "evaluations" in sampler:
        each, last = sampler["evaluations"]
        return int(each), int(last)
    return (SAMPLERS[name] if name in SAMPLERS else SAMPLERS.entry(name)).evaluations
