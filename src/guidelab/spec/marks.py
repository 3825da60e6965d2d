"""Annotations of spec fields that check values: existing names, registered names, unique values, disjoint seeds.

`Annotated[Name, Ref("models")]` reads: the name of an entry under `models` of the same experiment. `walk` finds the
annotations of every field and calls `problems`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.spec.mistakes import Mistake, repeated, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

_NOUNS = {
    "models": "a model",
    "denoisers": "a denoiser",
    "discriminators": "a discriminator",
    "folds": "a fold",
    "variants": "a variant",
    "blocks": "a block",
    "metrics": "a measured metric",
}


class Mark:
    """A check of the value that it annotates."""

    def problems(self, value: Any, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """What is wrong with the value, as `where: given, wanted`."""
        yield from ()


@dataclass(frozen=True)
class Ref(Mark):
    """The name of an entry of the same experiment: of `models`, `folds`, `blocks`, ...; or a point of a sweep."""

    kind: str

    def problems(self, value: Any, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """An unknown name, with the closest."""
        yield unknown(where, value, _NOUNS[self.kind], _names(e, self.kind))


@dataclass(frozen=True)
class PointRef(Mark):
    """A point of a sweep: a variant, and where it has weights one of them."""

    def problems(self, value: Any, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """An unknown variant, or a weight that its sweep has not."""
        name, _, w = value.partition("/")
        if name not in e.variants:
            yield unknown(where, name, "a variant", e.variants)
            return
        known = [f"w{x:.2f}" for x in e.variants[name].weights or []]
        if not w and known:
            yield f"{where}: given {value!r}, wanted a weight too: {', '.join(f'{name}/{k}' for k in known)}"
        elif w and w not in known:
            yield f"{where}: given {value!r}, wanted a weight of its sweep ({', '.join(known) or 'it has none'}), or {w} among variants.{name}.weights"


@dataclass(frozen=True)
class Registered(Mark):
    """A name of a registry: built in, of an installed package, or of a file in plugins/."""

    kind: str

    def problems(self, value: Any, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """The registry's own message."""
        try:
            registry.entry(self.kind, value, where)
        except UserError as error:
            yield str(error)


class Once(Mark):
    """A list without repeats."""

    def problems(self, value: Any, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Every repeated value."""
        yield from repeated(where, value)


class SeedRange(Mark):
    """Seeds of samples, first and last: no two ranges of an experiment overlap."""


def overlaps(ranges: dict[str, tuple[int, int]]) -> Iterator[str]:
    """A message for every range of seeds that overlaps another one."""
    reached: tuple[int, str] | None = None
    order = {where: i for i, where in enumerate(ranges)}
    for where, (first, last) in sorted(ranges.items(), key=lambda item: item[1]):
        if reached and first <= reached[0]:
            a, b = sorted((reached[1], where), key=lambda place: order[place])
            (a0, a1), (b0, b1) = ranges[a], ranges[b]
            yield f"{b}: given {b0}-{b1}, which overlaps {a} ({a0}-{a1}); wanted seeds of its own"
        if reached is None or last > reached[0]:
            reached = last, where


def _names(e: "Experiment", kind: str) -> Any:
    if kind == "blocks":
        return e.evaluate.blocks
    if kind == "metrics":
        return e.measured
    return getattr(e, kind)
