"""How long replays take, from the recorded seconds of the jobs, and which kinds are replayed when all would take too long."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from guidelab.accept.choice import WHOLE, Group, Part, cost
from guidelab.plan.plan import Plan
from guidelab.provenance import runs

_UNKNOWN_S = 10.0  # of a job of a rule without any recorded time
_START_S = 2.5  # what Snakemake's clock counts of starting a process; replays are forked


@dataclass(frozen=True)
class Candidate:
    """What can be replayed of one kind of jobs.

    Attributes:
        group: the kind. parts: of its jobs. seconds: estimate of all parts together.
        required: replayed whatever it takes: an earlier attempt on its rules was refused.
    """

    group: Group
    parts: Sequence[Part]
    seconds: float
    required: bool = False

    @property
    def options(self) -> set[tuple[str, ...]]:
        """Every option of the kind, with its rules; a term of a variant counts as one option with all it holds."""
        return {(*self.group.rules, option) for option in _options(json.loads(self.group.options))}


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


def chosen(candidates: Sequence[Candidate], limit_s: float) -> list[Candidate]:
    """Kinds to replay: all within a limit; else some in which every option in use occurs, and further ones, cheapest first.

    Args:
        candidates: one for each kind.
        limit_s: seconds; exceeded only by what has to be replayed.
    """
    kept = [c for c in candidates if c.required]
    left = sorted((c for c in candidates if not c.required), key=lambda c: c.seconds)
    met: set[tuple[str, ...]] = {option for c in kept for option in c.options}
    while new := [c for c in left if c.options - met]:
        best = min(new, key=lambda c: c.seconds / len(c.options - met))
        kept.append(best)
        left.remove(best)
        met |= best.options
    total = sum(c.seconds for c in kept)
    for candidate in left:
        if total + candidate.seconds <= limit_s:
            kept.append(candidate)
            total += candidate.seconds
    return [c for c in candidates if any(c is one for one in kept)]


def _options(content: Any, place: str = "") -> Iterator[str]:
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _options(value, f"{place}.{key}")
    elif isinstance(content, list) and content:
        for value in content:
            yield f"{place}[] {json.dumps(value, sort_keys=True)}"
    else:
        yield f"{place} {json.dumps(content)}"
