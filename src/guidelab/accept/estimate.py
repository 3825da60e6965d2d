"""Which jobs of a kind can be replayed, and an estimate of the time from the jobs' recorded seconds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from guidelab.accept.changes import Change
from guidelab.accept.choice import Group
from guidelab.accept.parts import WHOLE, Part, cost
from guidelab.plan.plan import Plan
from guidelab.provenance import runs

_UNKNOWN_S = 10.0  # of a job of a rule without any recorded time
_START_S = 2.5  # what Snakemake's clock counts of starting a process; replays are forked


@dataclass(frozen=True)
class Candidate:
    """What can be replayed of one kind of jobs.

    Attributes:
        experiment: whose jobs these are.
        group: the kind. parts: of its jobs. seconds: estimate of all parts together.
        first: jobs that make absent inputs again, in this order; their time is part of `seconds`.
        required: replayed at any cost: an earlier attempt on its rules was refused, or a training that is tried whole.
    """

    experiment: str
    group: Group
    parts: Sequence[Part]
    seconds: float
    required: bool = False
    first: Sequence[Change] = ()

    def sets(self, size: int) -> set[tuple[str, ...]]:
        """All sets of so many options of the kind, with its experiment and rules; what a list holds counts without its place."""
        names = sorted(set(_options(json.loads(self.group.options))))
        return {(self.experiment, *self.group.rules, *some) for some in combinations(names, size)}


def recorded_seconds(plan: Plan, experiment: str, root: Path) -> dict[str, float]:
    """What the jobs of an experiment took, by the first output; jobs without a recorded time are left out."""
    found = [runs.read(root, runs.path_of(experiment, stage.name)) for stage in plan.stages(experiment)]
    start = {runs.BY_JOB: 0.0, runs.BY_SNAKEMAKE: _START_S}
    return {
        path: max(run.seconds + run.earlier_seconds - start.get(run.clock, 0.0), 0.1)
        for part in found
        for path, run in part.items()
    }


def seconds_of(part: Part, known: Mapping[str, float], of_rule: Sequence[float]) -> float:
    """An estimate: the recorded time of the job, or the median of its rule, times the share that is replayed."""
    whole = known.get(part.change.name, median(of_rule) if of_rule else _UNKNOWN_S)
    return whole if part.kind == WHOLE else whole * cost(part.now) / max(cost(part.change.now), 1.0)


def _options(content: Any, place: str = "") -> Iterator[str]:
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _options(value, f"{place}.{key}")
    elif isinstance(content, list) and content:
        for value in content:
            yield from _options(value, f"{place}[]")
    else:
        yield f"{place} {json.dumps(content)}"
