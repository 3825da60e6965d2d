"""Differences between the recorded and the current parameters of a job."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guidelab.lineage.trail.book import Step

# The current parameters of a file's job by params.yaml and this code; None for a job that is not planned any more.
Now = Callable[[str], Mapping[str, Any] | None]
_NOTHING, _SHOWN = "nothing", 80


def differing(step: Step, planned: Mapping[str, Any]) -> list[str]:
    """Names of the parameters that differ in params.yaml now; `inputs` when the job would read other files.

    Args:
        step: a job as it ran. planned: its current parameters.
    """
    then, now = _then(step), _now(planned)
    return sorted(k for k in {*then, *now} if then.get(k) != now.get(k))


def differences(step: Step, planned: Mapping[str, Any]) -> list[str]:
    """The same as text, value by value: `train.lr: 0.01 then, 0.02 now`."""
    then, now = dict(flat(_then(step))), dict(flat(_now(planned)))
    missing = object()
    pairs = {k: (then.get(k, missing), now.get(k, missing)) for k in sorted({*then, *now})}
    return [_apart(k, was, is_now, missing) for k, (was, is_now) in pairs.items() if was != is_now]


def _apart(name: str, was: Any, is_now: Any, missing: object) -> str:
    if isinstance(was, list) and isinstance(is_now, list):  # of long lists only the differing items
        gone, new = ([v for v in a if v not in b] for a, b in ((was, is_now), (is_now, was)))
        was, is_now = (gone, new) if gone or new else (was, is_now)
    said = [_NOTHING if v is missing or v == [] else json.dumps(v) for v in (was, is_now)]
    short = [text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..." for text in said]
    return f"{name}: {short[0]} then, {short[1]} now"


def flat(content: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Every value with the dotted names that lead to it: `train.lr`."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _then(step: Step) -> dict[str, Any]:
    return {**step.told, **_inputs(step.inputs)}


def _now(planned: Mapping[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in planned.items() if k not in ("inputs", "code")}
    return {**plain, **_inputs(planned.get("inputs") or {})}


def _inputs(given: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Labels with their files; a missing entry counts as an empty list."""
    found = {label: files for label, paths in given.items() if (files := list(paths))}
    return {"inputs": found} if found else {}
