"""Translate pydantic's errors to messages of the form `where: given, wanted, closest`."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from guidelab import registry
from guidelab.errors import closest
from guidelab.spec.base import NAME_PATTERN, UNION
from guidelab.spec.experiment import Spec
from guidelab.spec.figures import Figures
from guidelab.spec.mistakes import shown

_PLAIN = (
    (r"^Value error, ", ""),
    (rf"^String should match pattern '{re.escape(NAME_PATTERN)}'$", "letters, digits and _, a letter first"),
    (r"^Input should be ", ""),
    (r"a valid dictionary( or instance of \w+)?", "a mapping of keys to values"),
    (r"a valid (list|tuple)", "a list"),
    (r"a valid string", "text"),
    (r"a valid boolean", "true or false"),
    (r"^(?:List|Dictionary|Tuple|String) should (have|match)", r"to \1"),
    (r" after validation, not \d+", ""),
)
_OF_A_KEY = "[key]"  # where pydantic means the key itself, not its value
_HINTS = (  # of text where a number is wanted
    (r"0[0-9]+", " (write it without the leading zero)"),
    (r"-?[0-9]+-[0-9]+", " (a range is text: list the numbers, as [0, 1, 2])"),
    (r"[0-9.]+e.*", " (write 1.0e-2, with a dot)"),
    (r"[0-9_]+", " (write the digits alone, without quotes)"),
    (r"(?i)yes|no|on|off", " (write true or false)"),
)


class Described:
    """One error of pydantic; formatted when it is printed, as there may be thousands."""

    def __init__(self, error: Any, place: Sequence[Any] = ()) -> None:
        self._error, self._place = error, tuple(place)

    def __str__(self) -> str:
        location = (*self._place, *self._error["loc"])
        where = ".".join(_key(p) for p in location if p != _OF_A_KEY and not str(p).startswith(UNION))
        return describe(self._error, where, location)


def describe(error: Any, where: str, location: tuple[Any, ...]) -> str:
    """One error as `where: given, wanted, closest`."""
    given = error.get("input")
    if error["type"] == "extra_forbidden":
        known = keys_at(location[:-1])
        return f"{where}: unknown key; wanted one of {', '.join(known)}{closest(str(location[-1]), known)}"
    if error["type"] == "union_tag_not_found":
        known = list(registry.NETS)
        name = given.get("name") if isinstance(given, dict) else given
        return (
            f"{where}.name: given {shown(name)}, wanted one of {', '.join(known)}{closest(str(name), known)}"
        )
    if location[-3:-2] == ("figures",) and location[-2] not in Figures.model_fields:
        known = list(Figures.model_fields)
        return (
            f"{'.'.join(where.split('.')[:-1])}: unknown key; wanted one of {', '.join(known)}"
            f"{closest(str(location[-2]), known)}, or a figure of a plugin, as {{name: plugins.mine:make}}"
        )
    if error["type"] == "missing":
        return f"{where}: is missing; wanted a value"
    message = error["msg"]
    for pattern, plain in _PLAIN:
        message = re.sub(pattern, plain, message)
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: given {shown(given)}, wanted {message}{'' if error['type'].startswith('string_') else _hint(given)}"


def _hint(given: Any) -> str:
    text = given[:40] if isinstance(given, str) else ""
    return next((hint for pattern, hint in _HINTS if re.fullmatch(pattern, text)), "")


def _key(part: Any) -> str:
    text = str(part)
    return text if len(text) <= 80 else f"{text[:77]}..."


def keys_at(location: Sequence[Any]) -> list[str]:
    """The keys known at a place of the spec, for the closest-name hint."""
    model: Any = Spec
    for part, following in zip(location, (*location[1:], ""), strict=False):
        fields = getattr(model, "model_fields", None)
        if fields is not None and part in fields:
            model = fields[part].annotation
        if str(part).startswith(UNION):
            model = _tagged(model, str(part)) or model
        elif str(following).startswith(UNION):
            continue  # the next part chooses among the classes of a union
        model = next(_models(model), None)
        if model is None:
            return []
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[Any]:
    """The classes of the spec inside an annotation; the values of a mapping, not its keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in reversed(getattr(annotation, "__args__", ())):
        yield from _models(inner)


def _tagged(model: Any, tag: str) -> Any:
    """The class of a union that goes by a tag, or None."""
    for inner in getattr(model, "__args__", ()):
        if any(getattr(mark, "tag", None) == tag for mark in getattr(inner, "__metadata__", ())):
            return inner.__origin__
        found = _tagged(inner, tag)
        if found is not None:
            return found
    return None
