"""How long replays take, from the recorded seconds of the jobs, and which kinds are replayed when all would take too long."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

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
        required: replayed whatever it takes: an earlier attempt on its rules was refused, or a training that is tried whole.
    """

    experiment: str
    group: Group
    parts: Sequence[Part]
    seconds: float
    required: bool = False

    def sets(self, size: int) -> set[tuple[str, ...]]:
        """All sets of so many options of the kind, with experiment and rules; a term of a variant is one option, with all it holds."""
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


def chosen(candidates: Sequence[Candidate], limit_s: float) -> list[Candidate]:
    """Kinds to replay: all within a limit; else every option in use, then as many pairs of options as there is time for.

    Args:
        candidates: one for each kind.
        limit_s: seconds; exceeded only by what is required, and by options that occur nowhere else.
    Returns:
        in the order given.
    """
    kept = [c for c in candidates if c.required]
    left = [c for c in candidates if not c.required]
    _add(kept, left, 1, inf)
    _drop_covered(kept, left)
    for size in (2, None):
        _add(kept, left, size, limit_s)
    return [c for c in candidates if any(c is one for one in kept)]


def _add(kept: list[Candidate], left: list[Candidate], size: int | None, limit_s: float) -> None:
    """Move kinds that fit from `left` to `kept`, at the least seconds for each new set of `size` options; without, cheapest first."""
    sets = {id(c): c.sets(size) if size else {()} for c in (*kept, *left)}
    known = {one for c in kept for one in sets[id(c)]} if size else set()
    total = sum(c.seconds for c in kept)
    while fitting := [c for c in left if total + c.seconds <= limit_s and sets[id(c)] - known]:
        best = min(fitting, key=lambda c: c.seconds / len(sets[id(c)] - known))
        kept.append(best)
        left.remove(best)
        total += best.seconds
        known |= sets[id(best)] if size else set()


def _drop_covered(kept: list[Candidate], left: list[Candidate]) -> None:
    """Move kinds back to `left` whose options all occur in others, those that take longest first."""
    for candidate in sorted(kept, key=lambda c: -c.seconds):
        others = {option for c in kept if c is not candidate for option in c.sets(1)}
        if not candidate.required and candidate.sets(1) <= others:
            kept[:] = [c for c in kept if c is not candidate]
            left.append(candidate)


def pairs_left_out(kept: Sequence[Candidate], candidates: Sequence[Candidate]) -> tuple[int, int]:
    """How many pairs of options occur in no replayed kind, and how many there are."""
    every, met = ({pair for c in some for pair in c.sets(2)} for some in (candidates, kept))
    return len(every - met), len(every)


def _options(content: Any, place: str = "") -> Iterator[str]:
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _options(value, f"{place}.{key}")
    elif isinstance(content, list) and content:
        for value in content:
            yield f"{place}[] {json.dumps(value, sort_keys=True)}"
    else:
        yield f"{place} {json.dumps(content)}"
