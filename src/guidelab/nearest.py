"""Lists of known names in messages: all if few, else their number and the three closest."""

import difflib
from collections.abc import Iterable

from guidelab.errors import closest, likely

_FEW, _NEAR, _LENGTH = 8, 3, 200


def listed(given: str, known: Iterable[str]) -> str:
    """`a, b, c` of a few names; `31, the closest a, b, c` of many; `none is known` of none."""
    names = list(known)
    if len(names) <= _FEW:
        return ", ".join(names) or "none is known"
    near = difflib.get_close_matches(given[:_LENGTH], likely(given, names), n=_NEAR, cutoff=0.0)
    return f"{len(names)}, the closest {', '.join(near)}"


def one_of(given: str, known: Iterable[str]) -> str:
    """`one of ...`, and which was probably meant: the end of a message about an unknown name."""
    names = list(known)
    return f"one of {listed(given, names)}{closest(given, names)}"


def grouped(problems: Iterable[str]) -> list[str]:
    """Mistakes as `place: text`; what several places share is printed once, with the other places behind it.

    >>> grouped(["a.b: given 1", "a.c: given 1", "a.d: given 2"])
    ['a.b: given 1 (also at a.c)', 'a.d: given 2']
    """
    places: dict[str, list[str]] = {}
    for problem in problems:
        place, _, text = problem.partition(": ")
        places.setdefault(text, []).append(place)
    found = []
    for text, (first, *others) in ((text, list(dict.fromkeys(names))) for text, names in places.items()):
        more = f" (also at {', '.join(others)})" if others else ""
        found.append(f"{first}: {text}{more}")
    return found
