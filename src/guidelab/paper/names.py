# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""What readers see instead of the names in params.yaml: its labels and groups, which every printing job carries."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

_LOOKS: ContextVar[Mapping[str, Mapping[str, Any]]] = ContextVar("looks", default={})  # noqa: B039 - never changed

METHODS = "Methods"  # the section of variants without a group of their own
GUIDES, DEGRADED = "Choice of the weak model", "Degraded main model"
TRAINED, AVERAGED = "Training of the discriminator", "Length of the average (EMA)"
SECTIONS = (METHODS, GUIDES, DEGRADED, TRAINED, AVERAGED)  # groups of params.yaml in the order of the tables
_ALONE = {"cfg": "CFG", "autog": "autoguidance", "dg": "DG"}  # methods of one term
_TUNED = re.compile(r"_(fd|u|c|u_both)$")  # for another metric, of another kind of net
FULL_SCALE = "full"
FULL_SCALES = (FULL_SCALE, "paper")  # whose numbers may be compared with a paper's
SMOKE = "smoke"  # everything tiny, weights random: that it runs is all it shows


@contextmanager
def of(job: Mapping[str, Any]) -> Iterator[None]:
    """Inside a `with`, variants are called and drawn as the job's `looks` say: a list of variant, label, section, method, hue, main, like."""
    token = _LOOKS.set({look["variant"]: look for look in job.get("looks", [])})
    try:
        yield
    finally:
        _LOOKS.reset(token)


def printing(run: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Decorator of a job function `run(job, outputs)`: variants get the labels of the job."""

    @wraps(run)
    def named(job: Any, outputs: Any) -> None:
        with of(job):
            run(job, outputs)

    return named


def looks() -> Mapping[str, Mapping[str, Any]]:
    """The job's label and look of each variant, in the order of params.yaml; empty outside of a job."""
    return _LOOKS.get()


def label(variant: str) -> str:
    """A variant as printed; one that the job does not name keeps its own name, underscores as spaces."""
    return str(looks().get(variant, {}).get("label", variant.replace("_", " ")))


def section(variant: str) -> str:
    """The part of the tables, and of the figures over the weight, that a variant stands in."""
    return str(looks().get(variant, {}).get("section", METHODS))


def ordered(variants: Iterable[object]) -> list[str]:
    """Each variant once, in the order of params.yaml; those the job does not name last, in the order given."""
    place = {name: i for i, name in enumerate(looks())}
    found = [str(v) for v in dict.fromkeys(variants)]
    return sorted(found, key=lambda v: place.get(v, len(place)))


def kin(variants: Iterable[object], start: str) -> list[str]:
    """Which variants are of one method alone, `cfg`, `autog` or `dg`, on a main model that the experiment's methods guide."""
    alike = {v: about for v, about in looks().items() if about["method"] == _ALONE[start]}
    mains = {about["main"] for about in alike.values() if about["section"] == METHODS}
    return [v for v in ordered(variants) if v in alike and alike[v]["main"] in mains]


def suffix(variant: str) -> str:
    """`_fd`, `_u` or `_c`, of a method tuned for another metric or of another kind of net; else empty."""
    found = _TUNED.search(variant)
    return f"_{found[1].removesuffix('_both')}" if found else ""


def scale_name(scale: str) -> str:
    """`full`, or `scaled down (reduced)`: a smaller experiment is always named as such."""
    if scale == SMOKE:
        return "smoke test: random weights, no number here means anything"
    return scale if scale in FULL_SCALES else f"scaled down ({scale})"


def prefix(scale: str) -> str:
    """What goes before every label of a smoke test, so that a line copied out of its table is still marked."""
    return "smoke: " if scale == SMOKE else ""


def split_point(point: str) -> tuple[str, float | None]:
    """`cfg/w4.00` -> ("cfg", 4.0); `none` -> ("none", None).

    Raises:
        ValueError: what follows the slash is not a weight.
    """
    variant, _, weight = point.partition("/")
    return variant, float(weight.removeprefix("w")) if weight else None


def point_label(point: str) -> str:
    """`cfg/w4.00` -> `CFG, w = 4`; a truncation's weight multiplies the score, so it is written x1.4."""
    variant, w = split_point(point)
    if w is None or variant == "none":
        return label(variant)
    return f"{label(variant)}, ×{w:g}" if variant == "truncation" else f"{label(variant)}, w = {w:g}"


def origin(info: dict[str, object]) -> str:
    """`toy2d, scaled down (reduced)`: the line every figure carries, from the job's `experiment` and `scale`."""
    return f"{info.get('experiment', 'experiment')}, {scale_name(str(info.get('scale', FULL_SCALE)))}"
