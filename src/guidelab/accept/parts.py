"""Shorten a job for its replay: the full payload, or one whose results are a part of the recorded ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guidelab.accept.changes import Change

WHOLE, FIRST_SNAPSHOT, FIRST_EVALUATION = "whole", "first snapshot", "first evaluation"
FIRST_ROWS, FIRST_BLOCK, FEW_REPEATS = "first rows", "first block", "few repeats"
_ROWS = {
    ".json": 250,
    ".safetensors": 2048,
}  # of a block: whole batches of the samplers, of images and of points
_REPEATS = 4  # of the estimates whose coverage is counted
_SAMPLERS = ("sample", "generate", "grading")


@dataclass(frozen=True)
class Part:
    """As much of a job as is replayed: WHOLE, or its payloads with less to do, for old and for new code."""

    change: Change
    kind: str
    ran: Mapping[str, Any]
    now: Mapping[str, Any]


def whole(change: Change) -> Part:
    """All of a job."""
    return Part(change, WHOLE, change.ran, change.now)


def part(change: Change) -> Part:
    """As much of a job as has to be replayed where another job of its code is replayed whole."""
    try:
        (kind, now), (_, ran) = _less(change, change.now), _less(change, change.ran)
    except (KeyError, TypeError, ValueError):  # keys that the old code named otherwise
        return whole(change)
    if now is None or ran is None or cost(now) >= cost(change.now):
        return whole(change)
    return Part(change, kind, ran, now)


def _less(change: Change, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The kind of a shortened replay and its payload; None where a rule has none."""
    train, coverage = payload.get("train") or {}, (payload.get("estimate") or {}).get("coverage")
    blocks = payload.get("blocks") or {}
    first = dict(list(blocks.items())[:1])
    if train.get("snapshot_nimg"):
        return FIRST_SNAPSHOT, {
            **payload,
            "train": {**train, "nimg": min(train["nimg"], train["snapshot_nimg"])},
        }
    if "patience" in train:  # the step size may depend on `iterations`: these stay
        return FIRST_EVALUATION, {**payload, "train": {**train, "patience": 0}}
    if change.rule_now == "density":
        return FIRST_ROWS, {**payload, "train_seeds": payload["train_seeds"][:1], "blocks": first}
    if change.rule_now in _SAMPLERS:
        return FIRST_ROWS, _fewer_rows(payload, Path(change.name).suffix)
    if change.rule_now == "measure":
        return FIRST_BLOCK, {**payload, "blocks": first}
    if coverage:
        (low, _), draws = coverage["seeds"], min(_REPEATS, coverage["draws"])
        fewer = {**coverage, "draws": draws, "seeds": [low, low + draws * coverage["n_samples"] - 1]}
        return FEW_REPEATS, {**payload, "estimate": {**payload["estimate"], "coverage": fewer}}
    return WHOLE, None


def _fewer_rows(payload: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    """Samples of one training seed: of points the first of every block, of images those of the first block."""
    rows, blocks, seeds = _ROWS[suffix], dict(payload["blocks"]), payload["train_seeds"][:1]
    keep = list(blocks.items())[: None if suffix == ".safetensors" else 1]
    less = {**payload, "train_seeds": seeds, "blocks": {name: _first(given, rows) for name, given in keep}}
    if payload.get("grader_blocks"):
        less["grader_blocks"] = {
            name: {"seeds": _first(g["seeds"], rows), "train_seeds": [s for s in g["train_seeds"] if s in seeds]}
            for name, g in payload["grader_blocks"].items()
        }  # fmt: skip
    return less


def _first(seeds: Sequence[int], rows: int) -> list[int]:
    first, last = seeds
    return [first, min(last, first + rows - 1)]


def cost(payload: Mapping[str, Any]) -> float:
    """Images or points a job works on, for comparing jobs of one rule."""
    train, coverage = payload.get("train") or {}, (payload.get("estimate") or {}).get("coverage") or {}
    trainings = len(payload.get("seeds") or payload.get("train_seeds") or [0])
    iterations = train.get("iterations", 0)
    if train.get("patience") == 0:  # one evaluation, and reading and judging as for all of it
        iterations = min(iterations, 1.5 * train.get("evaluate_every", iterations))
    images = train.get("nimg") or iterations * train.get("batch", 0)
    rows = sum(_count(seeds) for seeds in (payload.get("blocks") or {}).values())
    graders = (payload.get("grader_blocks") or {}).values()
    drawn = sum(_count(g["seeds"]) * len(g["train_seeds"]) for g in graders)
    drawn += coverage.get("draws", 0) * (coverage.get("n_real", 0) + coverage.get("n_samples", 0))
    net = payload.get("net") or {}
    width = net.get("width") or net.get("channels") or 1
    return float(trainings * (images * width + rows) + drawn)


def _count(seeds: Sequence[int]) -> int:
    first, last = seeds
    return last - first + 1
