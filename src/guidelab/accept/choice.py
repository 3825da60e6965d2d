"""Group jobs into kinds: jobs that run the same code with the same options."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from guidelab import registry
from guidelab.accept.changes import Change
from guidelab.accept.parts import cost
from guidelab.spec import Experiment

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


@dataclass(frozen=True)
class Group:
    """Jobs that run the same code with the same options; a result for some counts for all.

    Attributes:
        codes: the digest that ran and the planned one. options: the normalised payload, see `options`.
        jobs: cheapest first, by recorded seconds; equal ones in an order that follows from the digests.
    """

    codes: tuple[str, str]
    options: str
    jobs: list[Change] = field(default_factory=list)

    @property
    def rules(self) -> list[str]:
        """The rules of its jobs, by name."""
        return sorted({job.rule for job in self.jobs})


def groups(found: Iterable[Change], spec: Experiment, known: Mapping[str, float]) -> list[Group]:
    """Jobs grouped by code and options.

    Args:
        found: the jobs. spec: their experiment. known: recorded seconds by job.
    """
    names = chosen_names(spec)
    made: dict[tuple[tuple[str, str], str], Group] = {}
    for change in found:
        key = change.codes, json.dumps(options(change.now, names), sort_keys=True)
        made.setdefault(key, Group(*key)).jobs.append(change)
    for group in made.values():
        group.jobs.sort(
            key=lambda job: (
                known.get(job.name, inf),
                cost(job.now),
                hashlib.sha256(f"{job.codes}{job.name}".encode()).hexdigest(),
            )
        )
    return list(made.values())


def tried_whole(jobs: Iterable[Change], known: Mapping[str, float]) -> set[str]:
    """The trainings that are replayed whole, by name: of each trainer, a planned digest with a net, the cheapest.

    Args:
        jobs: one of each kind.
        known: recorded seconds by job; the first choice, as trainings that stop early take as long as they take.
    """
    first: dict[tuple[Any, ...], Change] = {}
    for job in (job for job in jobs if job.now.get("train")):
        trainer = (job.codes[1], (job.now.get("net") or {}).get("name"))
        best = first.setdefault(trainer, job)
        if (known.get(job.name, inf), cost(job.now)) < (known.get(best.name, inf), cost(best.now)):
            first[trainer] = job
    return {job.name for job in first.values()}


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
