"""Validate an experiment: walk over every annotation and every `problems` method and collect all mistakes."""

import typing
from collections.abc import Iterable, Iterator
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from guidelab.spec.base import Strict
from guidelab.spec.marks import Mark, SeedRange, overlaps
from guidelab.spec.mistakes import Mistake

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


def problems(e: "Experiment") -> Iterator[str | Mistake]:
    """Every mistake of an experiment whose types are right, as `where: given, wanted, closest`."""
    ranges: dict[str, tuple[int, int]] = {}
    for where, part in parts(e):
        for place, value, mark in _marked(part, where):
            if isinstance(mark, SeedRange):
                ranges[place] = value
            yield from filter(None, mark.problems(value, e, place))
        own = getattr(part, "problems", None)
        yield from filter(None, own(e, where)) if own else ()
    yield from overlaps(ranges)


def remarks(e: "Experiment") -> Iterator[str]:
    """Warnings about allowed but unusual values, from every class with a method `remarks`."""
    for where, part in parts(e):
        own = getattr(part, "remarks", None)
        yield from own(e, where) if own else ()


def parts(value: Any, where: str = "") -> Iterator[tuple[str, Strict]]:
    """A model and all models inside it, each with the keys that lead there."""
    if isinstance(value, Strict):
        yield where, value
        for key in (*type(value).model_fields, *(value.model_extra or {})):
            yield from parts(getattr(value, key), _join(where, key))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from parts(inner, _join(where, key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from parts(inner, _join(where, i))


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _marked(part: Strict, where: str) -> Iterator[tuple[str, Any, Mark]]:
    """The values of a model's fields with a check annotation."""
    for key, annotation in _marked_fields(type(part)):
        yield from _values(getattr(part, key), annotation, _join(where, key))


@cache
def _marked_fields(model: type[Strict]) -> tuple[tuple[str, Any], ...]:
    """The fields with a check anywhere in their annotation, including pydantic's metadata."""
    found = []
    for key, field in model.model_fields.items():
        annotation: Any = field.annotation
        for mark in field.metadata:
            annotation = Annotated[annotation, mark]
        if _has_mark(annotation):
            found.append((key, annotation))
    return tuple(found)


def _has_mark(annotation: Any) -> bool:
    marks = getattr(annotation, "__metadata__", ())
    return any(isinstance(m, Mark) for m in marks) or any(map(_has_mark, _inner(annotation)))


def _inner(annotation: Any) -> Iterable[Any]:
    """The annotations nested in one, except those of model classes, which the walk visits itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return (get_args(annotation)[0],)
    return () if origin is typing.Literal else (a for a in get_args(annotation) if not isinstance(a, str))


def _values(value: Any, annotation: Any, where: str) -> Iterator[tuple[str, Any, Mark]]:
    if value is None:
        return
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from ((where, value, m) for m in annotation.__metadata__ if isinstance(m, Mark))
        yield from _values(value, get_args(annotation)[0], where)
    elif origin in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _values(value, inner, where)
    elif origin is dict and isinstance(value, dict):
        keys, content = get_args(annotation)
        for key, item in value.items():
            yield from _values(key, keys, where)
            yield from _values(item, content, _join(where, key))
    elif origin in (list, tuple) and isinstance(value, list | tuple):
        kinds = get_args(annotation)
        for i, item in enumerate(value):  # a tuple of fixed length has an annotation for each place
            fixed = origin is tuple and Ellipsis not in kinds
            yield from _values(item, kinds[i] if fixed else kinds[0], where)
