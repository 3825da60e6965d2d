"""How often samplers evaluate the main net."""

from collections.abc import Mapping
from typing import Any

from guidelab.registry.sampling import SAMPLERS


def evaluations(sampler: Mapping[str, Any]) -> tuple[int, int]:
    """Evaluations of the main net in every step but the last, and in the last one.

    Heun's method evaluates twice, and once in the step to 0; a discrete chain once; samplers of plugins say it themselves.

    Args:
        sampler: its `name`, and `evaluations` where a job has them.
    """
    name = sampler["name"]
    if "evaluations" in sampler:
        each, last = sampler["evaluations"]
        return int(each), int(last)
    if name not in SAMPLERS:
        return SAMPLERS.entry(name).evaluations
    return (1, 1) if SAMPLERS[name].needs == "chain" else (2, 1)
