"""The type of one mistake in params.yaml: where, given, wanted, closest name (looked up when it is printed)."""

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guidelab.errors import UserError, closest
from guidelab.nearest import grouped, listed

PRINTED, VALUE_CHARS, LINE_CHARS = 20, 80, 600
_READ = 5 * PRINTED  # mistakes whose closest names are looked up

_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = 12
_REPR.maxstring = VALUE_CHARS


@dataclass(frozen=True)
class Mistake:
    """A name that is not known.

    Attributes:
        where: the keys that lead to it.
        given: the name.
        wanted: the kind of name there, as `a fold`.
        known: the names there are.
    """

    where: str
    given: str
    wanted: str
    known: Sequence[str]

    def __str__(self) -> str:
        names = listed(self.given, self.known)
        return f"{self.where}: given {shown(self.given)}, wanted {self.wanted} ({names}){closest(self.given, list(self.known))}"


def unknown(where: str, given: str, wanted: str, known: Iterable[str]) -> Mistake | None:
    """The mistake when `given` is not among `known`, else None."""
    names = known if isinstance(known, dict | set | frozenset | list | tuple) else list(known)
    return None if given in names else Mistake(where, given, wanted, list(names))


def repeated(where: str, given: Iterable[Any]) -> Iterator[str]:
    """A message for every value that a list holds more than once."""
    counts: dict[Any, int] = {}
    for value in given:
        counts[value] = counts.get(value, 0) + 1
    for value, count in counts.items():
        if count > 1:
            yield f"{where}: given {shown(value)} {count} times, wanted it once: delete the repeats"


def shown(value: Any) -> str:
    """A given value as it is printed: on one line, at most 80 characters."""
    if isinstance(value, str) and len(value) > VALUE_CHARS:
        return f"{value[: VALUE_CHARS - 3]!r}... ({len(value)} characters)"
    text = _REPR.repr(value)
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 3]}..."


def refuse(path: str, mistakes: Sequence[Any]) -> None:
    """Raise what is wrong, one mistake a line; of many the first twenty and the number of the rest.

    Raises:
        UserError: there is a mistake.
    """
    if not mistakes:
        return
    texts = grouped(str(mistake) for mistake in mistakes[:_READ])  # what several places share is printed once
    lines = [f"{path}: {_cut(text)}" for text in texts[:PRINTED]]
    more = len(texts) - len(lines) + max(0, len(mistakes) - _READ)
    if more > 0:
        lines.append(f"{path}: and {more} more mistakes; correct these first")
    raise UserError("\n".join(lines))


def _cut(text: str) -> str:
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 3]}..."
