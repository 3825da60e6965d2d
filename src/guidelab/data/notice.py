"""Notices on standard error about files of a user's data that a reader skips."""

import sys
from collections.abc import Sequence

from guidelab.errors import plain

_NAMED = 5


def notice(text: str) -> None:
    """Print one line for the person who started the command."""
    print(f"guidelab: {plain(text)}", file=sys.stderr)


def some(names: Sequence[str]) -> str:
    """The first names, without control characters, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(plain(name)[:200] for name in names[:_NAMED]) + more
