"""Guidance terms: a registered method, what it needs, and the noise levels at which it acts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from guidelab import registry
from guidelab.errors import UserError
from guidelab.spec.base import Few, Many, Name, Number, Plug, Positive, Strict, Weight
from guidelab.spec.marks import Registered
from guidelab.spec.mistakes import Mistake, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


class Method(Registered):
    """A registered guidance method, or a former name of one."""

    def problems(self, value: Any, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """The registry's own message, and what a former name is written as."""
        if value == "leading":
            yield f"{where}: given 'leading', wanted `method: reference` with `channels: 3`, the channels that are guided"
        else:
            yield from super().problems(value, e, where)


class Term(Strict):
    """One guidance term; `weight` fixes it, otherwise the variant's `weights` sweep it."""

    _later = frozenset({"iterations", "boost", "options", "channels"})

    method: Annotated[Plug, Method("method")]  # or `{name: plugins.mine:Name, option: ...}`
    options: dict[Name, Any] = {}  # of a plugin
    ref: Name | None = None
    disc: Name | None = None
    weight: Weight | None = None
    sigma_lo: Annotated[Number, Field(ge=0)] = 0.0
    sigma_hi: Positive | None = None
    stages: Literal["both", "first"] = "both"
    channels: Few | None = None  # of method reference: the first so many channels are guided, all by default
    iterations: Many | None = None  # the guide after so many iterations, instead of at its best held-out loss
    boost: bool = False  # the discriminator-guidance paper's boosting

    @model_validator(mode="before")
    @classmethod
    def _with_options(cls, value: Any) -> Any:
        """`method: {name: X, a: 1}` -> `method: X, options: {a: 1}`."""
        method = value.get("method") if isinstance(value, dict) else None
        if not isinstance(method, dict) or "options" in value:
            return value
        options = {key: option for key, option in method.items() if key != "name"}
        return value | {"method": method.get("name"), "options": options}

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """A method without what it needs, a discriminator of another role, an empty interval."""
        entry = entry_of(self.method)
        if entry is None:
            return
        if self.options:
            wrong = registry.options_mistake("method", self.method, self.options, 2 if entry.needs else 1)
            yield f"{where}.method: {self.method}: {wrong}" if wrong else None
        for key, known, wanted in (
            ("ref", e.models, "a model"),
            ("disc", e.discriminators, "a discriminator"),
        ):
            given = getattr(self, key)
            if (given is not None) != (entry.needs == key):
                yield f"{where}.{key}: given {given!r}; method {self.method!r} needs {entry.needs or 'neither ref nor disc'}"
            elif given is not None:
                yield unknown(f"{where}.{key}", given, wanted, known)
        if self.channels and self.method != "reference":
            yield f"{where}.channels: given {self.channels} with method {self.method!r}, wanted method reference, or no channels"
        role = e.discriminators[self.disc].role if self.disc in e.discriminators else None
        wanted = "classifier" if self.method == "classifier" else "guide"
        if role == "grade":
            yield f"{where}.disc: given {self.disc!r}, whose role is to grade; a discriminator that grades never guides"
        elif role not in (None, wanted):
            yield f"{where}.disc: given {self.disc!r}, whose role is {role!r}; method {self.method!r} needs a {wanted}"
        if self.sigma_hi is not None and self.sigma_lo >= self.sigma_hi:
            yield f"{where}.sigma_lo: given {self.sigma_lo}, wanted less than sigma_hi {self.sigma_hi}"


def entry_of(method: str) -> registry.Entry | None:
    """The registry's entry; None where there is none or it cannot be loaded, which its annotation reports."""
    try:
        return registry.entry("method", method)
    except UserError:
        return None
