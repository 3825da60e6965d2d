"""Which jobs are replayed, and how much of each: every set of options that occurs, at the least cost."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from guidelab import registry
from guidelab.accept.changes import Change
from guidelab.spec import Experiment

_ROWS = {
    True: 250,
    False: 2048,
}  # of a block, for shards of images and for points: whole batches of the samplers
_SEEDS = {"seed", "seeds", "train_seeds", "blocks", "train_seed", "images_seed"}
_APART = {"code", "experiment"}
_BLOCKS = {"blocks", "grader_blocks"}  # of seeds: their names are labels of tensors
_NAMED = {
    "variant",
    "main",
    "ref",
    "disc",
    "model",
    "fold",
    "point",
    "calibrate",
    "grader",
}  # what these name, a user chose
WHOLE, FIRST_SNAPSHOT, FIRST_ROWS = "whole", "first snapshot", "first rows"


@dataclass(frozen=True)
class Group:
    """Jobs that run the same code with the same options; what is shown for some is taken for all.

    Attributes:
        codes: the digest that ran and the planned one. options: the normalised payload, see `options`.
        jobs: cheapest first; jobs of equal cost in an order that follows from the digests.
    """

    codes: tuple[str, str]
    options: str
    jobs: list[Change] = field(default_factory=list)

    @property
    def rules(self) -> list[str]:
        """The rules of its jobs, by name."""
        return sorted({job.rule for job in self.jobs})


@dataclass(frozen=True)
class Part:
    """As much of a job as is replayed: WHOLE, or its payloads with less to do, for old and for new code."""

    change: Change
    kind: str
    ran: Mapping[str, Any]
    now: Mapping[str, Any]


def groups(found: Iterable[Change], spec: Experiment) -> list[Group]:
    """Jobs grouped by code and options."""
    names = chosen_names(spec)
    made: dict[tuple[tuple[str, str], str], Group] = {}
    for change in found:
        key = change.codes, json.dumps(options(change.now, names), sort_keys=True)
        made.setdefault(key, Group(*key)).jobs.append(change)
    for group in made.values():
        group.jobs.sort(
            key=lambda job: (cost(job.now), hashlib.sha256(f"{job.codes}{job.name}".encode()).hexdigest())
        )
    return list(made.values())


def cheapest_trainings(made: Iterable[Group]) -> set[str]:
    """The training that is replayed whole of each digest: of each trainer."""
    first: dict[tuple[str, str], Change] = {}
    for job in (job for group in made for job in group.jobs[:1] if job.now.get("train")):
        if job.codes not in first or cost(job.now) < cost(first[job.codes].now):
            first[job.codes] = job
    return {job.name for job in first.values()}


def part(change: Change, short_training: bool) -> Part:
    """As much of a job as has to be replayed."""
    ran, now = _less(change, change.ran, short_training), _less(change, change.now, short_training)
    if ran is None or now is None:
        return whole(change)
    kind = FIRST_SNAPSHOT if "train" in now else FIRST_ROWS
    return Part(change, kind, ran, now)


def whole(change: Change) -> Part:
    """All of a job."""
    return Part(change, WHOLE, change.ran, change.now)


def _less(change: Change, payload: Mapping[str, Any], short_training: bool) -> dict[str, Any] | None:
    """A payload with less to do, whose results are the first part of the job's own; None where there is none."""
    train = payload.get("train") or {}
    if short_training and train.get("snapshot_nimg") and train["nimg"] > train["snapshot_nimg"]:
        seeds = {key: payload[key][:1] for key in ("seeds", "train_seeds") if key in payload}
        return {**payload, "train": {**train, "nimg": train["snapshot_nimg"]}, **seeds}
    if change.rule == "density":
        (block, seeds), *_ = payload["blocks"].items()
        one = {**payload, "train_seeds": payload["train_seeds"][:1], "blocks": {block: seeds}}
        return one if cost(one) < cost(payload) else None
    if "sampler" in payload and change.rule in ("sample", "generate", "grading"):
        rows = _ROWS[change.name.endswith(".json")]
        given = dict(payload["blocks"])
        graders: Mapping[str, Any] = payload.get("grader_blocks") or {}
        less: dict[str, Any] = {**payload, "train_seeds": payload["train_seeds"][:1]}
        keep = given if change.name.endswith(".safetensors") else dict(list(given.items())[:1])
        less["blocks"] = {name: _first(seeds, rows) for name, seeds in keep.items()}
        if graders:
            less["grader_blocks"] = {
                name: {"seeds": _first(g["seeds"], rows), "train_seeds": [s for s in g["train_seeds"] if s in less["train_seeds"]]}
                for name, g in graders.items()
            }  # fmt: skip
        return less if cost(less) < cost(payload) else None
    return None


def _first(seeds: Sequence[int], rows: int) -> list[int]:
    first, last = seeds
    return [first, min(last, first + rows - 1)]


def cost(payload: Mapping[str, Any]) -> float:
    """Images or points a job works on, for comparing jobs of one rule."""
    train = payload.get("train") or {}
    trainings = len(payload.get("seeds") or payload.get("train_seeds") or [0])
    images = train.get("nimg") or train.get("iterations", 0) * train.get("batch", 0)
    blocks = (payload.get("blocks") or {}).values()
    graders = (payload.get("grader_blocks") or {}).values()
    rows = sum(last - first + 1 for first, last in blocks)
    drawn = sum((g["seeds"][1] - g["seeds"][0] + 1) * len(g["train_seeds"]) for g in graders)
    width = (payload.get("net") or {}).get("width") or (payload.get("net") or {}).get("channels") or 1
    return float(trainings * (images * width + rows) + drawn)


# ---- options -----------------------------------------------------------------------------------------------------


def options(payload: Mapping[str, Any], names: set[str]) -> Any:
    """A payload without what selects no branch: numbers, seeds, paths, and names that a user chose.

    Of numbers 0 and 1 stay, which turn parts off; so do signs. Empty parts count as absent.
    """
    labels = {label.split(":")[0] for label, paths in (payload.get("inputs") or {}).items() if paths}
    found = {
        key: _normal(value, names, key) for key, value in payload.items() if key not in (*_APART, "inputs")
    }
    return {"inputs": sorted(labels), **{key: value for key, value in found.items() if value not in ({}, [])}}


def _normal(value: Any, names: set[str], key: str = "") -> Any:
    if isinstance(value, Mapping):
        made: dict[str, Any] = {}
        for name, content in value.items():
            normal = _normal(content, names, "seeds" if key == "blocks" else name)
            if normal not in ({}, []):
                chosen = (name in names and name not in fields()) or "/" in name or key in _BLOCKS
                made.setdefault("*" if chosen else name, []).append(normal)
        alike = {k: _unique(v) for k, v in made.items()}
        return {k: v[0] if len(v) == 1 else v for k, v in alike.items()}
    if isinstance(value, list):
        return "seeds" if key in _SEEDS else _unique([_normal(item, names) for item in value])
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return "number" if key in _SEEDS or value not in (0, 1, -1) else int(value)
    text = "@".join("*" if word in names else word for word in str(value).split("@"))
    return "*" if "/" in text or key in _NAMED else text


def _unique(values: Iterable[Any]) -> list[Any]:
    texts = sorted({json.dumps(value, sort_keys=True) for value in values})
    return [json.loads(text) for text in texts]


def chosen_names(spec: Experiment) -> set[str]:
    """Names that a user chose in an experiment, but for those that name an option as well."""
    content = spec.model_dump()
    found: set[str] = set()
    for key in ("folds", "denoisers", "models", "discriminators", "variants", "autoencoders", "references"):
        found |= set(content.get(key) or {})
    evaluate = content.get("evaluate") or {}
    for key in ("blocks", "features"):
        found |= set(evaluate.get(key) or {})
    return {name for name in found if isinstance(name, str)} - registered()


def registered() -> set[str]:
    """Every registered name, and every word that the schema of params.yaml offers."""
    return {name for entries in registry.KINDS.values() for name in entries} | _schema()[0]


def fields() -> set[str]:
    """Every key that the schema of params.yaml has: an option, also where a user gave a variant the same name."""
    return _schema()[1]


@cache
def _schema() -> tuple[set[str], set[str]]:
    """The words and the keys of the schema of params.yaml."""
    words: set[str] = set()
    keys: set[str] = set()
    seen: set[type] = set()
    todo: list[Any] = [Experiment]
    while todo:
        kind = todo.pop()
        if get_origin(kind) is Literal:
            words |= {word for word in get_args(kind) if isinstance(word, str)}
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= set(kind.model_fields)
            todo += [] if kind in seen else [f.annotation for f in kind.model_fields.values()]
            seen.add(kind)
        else:
            todo += get_args(kind)
    return words, keys
