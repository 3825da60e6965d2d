"""What a measurement checks of its samples before their numbers get the names of a point."""

import hashlib
import json
from collections.abc import Callable, Iterable
from inspect import isclass
from typing import Any

from guidelab.errors import UserError
from guidelab.registry import Table


def check_point(job: dict[str, Any], source: dict[str, Any], path: str) -> None:
    """Refuse samples of another sampler: a file moved by hand would give its numbers another name.

    Args:
        job: with `of`, the sampler of the point.
        source: description of the samples a file holds, or holds features of.
        path: the file.
    Raises:
        UserError: says what the file holds and what was wanted.
    """
    held = {
        "variant": source.get("variant"),
        "weights": [term["weight"] for term in source.get("terms", [])],
        "train_seeds": source.get("seeds"),
        "sampler": source.get("sampler"),
    }
    for key, value in held.items():
        if value != job["of"][key]:
            raise UserError(
                f"{path}: describes samples with {key} {value}, wanted {job['of'][key]} as in params.yaml. Delete this file, and the "
                "samples it was computed from if they do not match the plan either, and run again."
            )


def check_block(job: dict[str, Any], source: dict[str, Any], block: str, path: str) -> int:
    """The number of samples of a block.

    Raises:
        UserError: the file holds other seeds of it.
    """
    held, wanted = source["blocks"].get(block), list(job["blocks"][block])
    if held is None or list(held) != wanted:
        raise UserError(f"{path}: block {block!r} holds seeds {held}, wanted {wanted}")
    first, last = wanted
    return int(last) - int(first) + 1


def combined(hashes: dict[str, str]) -> str:
    """One hash for all the nets of a sampler."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def by_function(table: Table, names: Iterable[str]) -> list[list[str]]:
    """Metrics in groups that one function computes together, in order: they share distances and densities."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(table[name].target, []).append(name)
    return list(groups.values())


def measurer(table: Table, name: str) -> Callable[..., Any]:
    """The function that computes a metric: of a class an instance."""
    found: Any = table.load(name)
    if isclass(found):
        found = found()
    return found  # type: ignore[no-any-return]
