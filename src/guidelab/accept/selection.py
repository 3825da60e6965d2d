"""Choose the jobs to replay within a time limit: every option in use once, then as many pairs of options as fit."""

from collections.abc import Callable, Sequence
from math import inf

from guidelab.accept.estimate import Candidate
from guidelab.errors import counted


def within(
    candidates: Sequence[Candidate], minutes: float, log: Callable[[str], None]
) -> tuple[list[Candidate], dict[int, str]]:
    """The kinds that are replayed in the given minutes; says how long that is expected to take, and what is left out.

    Returns:
        the kinds; by `id` those whose inputs cannot be made again in that time, and the reason.
    """
    kept = chosen([c for c in candidates if not c.first], 60 * minutes)
    late: dict[int, str] = {}
    for one in sorted((c for c in candidates if c.first), key=lambda c: c.seconds):
        if sum(c.seconds for c in kept) + one.seconds <= 60 * minutes:
            kept.append(one)
        else:
            job = one.first[-1].name
            late[id(one)] = (
                f"not replayed, {job} is not here (dvc pull {job}); making it again and the replay take about "
                f"{one.seconds / 60:.1f} minutes, which --minutes {minutes:g} does not leave"
            )
    if kept:
        kinds, expected = counted(len(candidates), "kind"), sum(c.seconds for c in kept) / 60
        left, pairs = pairs_left_out(kept, candidates)
        thin = f"; {left} of {pairs} pairs of options are in none of them" if left else ""
        log(
            f"replays {len(kept)} of {kinds} of jobs, about {expected:.1f} minutes by the recorded times{thin}"
        )
    return kept, late


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
