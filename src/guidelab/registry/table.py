"""A table of registered names: the module of each, look-up and import.

A name is one of a table, of an installed package (entry points `guidelab.<kind>`), or of a file in plugins/, written
`plugins.mine:Name` (see `plugins`). What a table names is not imported to look it up, and the code digest of a job
follows exactly the modules its part of the spec names.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guidelab.errors import UserError, closest
from guidelab.registry import plugin_checks, plugins


@dataclass(frozen=True)
class Entry:
    """Where a name is carried: `module:attribute`, and what the spec must give along with it."""

    target: str
    needs: str = ""  # methods: "ref" (a model), "disc" (a discriminator) or nothing; samplers: "chain" of discrete steps; datasets: "stream" when read piece by piece, "cache" when fetched; metrics of images: words of `plugin_checks.PARTS`; figures: see there
    neutral: float = 1.0  # methods: the weight at which nothing is added
    itself: bool = (
        False  # methods: the main net may be its own reference, as it is evaluated with another class
    )
    classes: int | None = None  # datasets: how many there are, where that is fixed
    evaluations: tuple[int, int] = (1, 1)  # samplers: of the main net in a step, and in the last one

    @property
    def module(self) -> str:
        """The module that holds it, for the code digest."""
        return self.target.split(":")[0]


class Table(dict[str, Entry]):
    """The built-in names of a kind.

    Args:
        noun: the kind of the named object, for messages.
        kind: the kind under which plugins add names, looked up when needed; empty: closed to plugins.
        entries: the built-in names.
    """

    def __init__(self, noun: str, kind: str, entries: Mapping[str, Entry]) -> None:
        super().__init__(entries)
        self.noun, self.kind = noun, kind

    def __missing__(self, name: str) -> Entry:
        found = self.of_plugin(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The entry of a name, plugins included."""
        try:
            return self[name]
        except KeyError:
            return default

    def entry(self, name: str, where: str = "params.yaml") -> Entry:
        """The entry of a name.

        Raises:
            UserError: no such name; says what is known and which is closest. Or a plugin that cannot be used.
        """
        if name in self:
            if self.kind and name in plugins.installed(self.kind):
                raise UserError(
                    f"{where}: {self.noun} {name!r} is built in, and an installed package gives its entry point "
                    f"guidelab.{self.kind} the same name; wanted another name there, or the package uninstalled"
                )
            return self[name]
        found = self.of_plugin(name, where)
        if found is None:
            raise UserError(
                f"{where}: {self.noun} {name!r} is not known; wanted one of {', '.join(sorted(self))}{closest(name, list(self))}"
            )
        return found

    def load(self, name: str) -> Any:
        """Import the object of a name."""
        target = self.entry(name).target
        if plugins.is_plugin(target):
            return plugins.load(target)
        module, attribute = target.split(":")
        return getattr(importlib.import_module(module), attribute)

    def of_plugin(self, name: str, where: str = "params.yaml") -> Entry | None:
        """The entry of a plugin, read from the attributes of its class; None for a name that is none."""
        found = plugin_checks.found(self.kind, name, where) if self.kind else None
        if found is None:
            return None
        target, made = found
        keys = ("needs", "neutral", "itself", "evaluations")
        return Entry(target, **{key: getattr(made, key) for key in keys if hasattr(made, key)})
