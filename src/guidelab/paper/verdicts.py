# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Words for numbers: how a metric moved, whether that agrees with a picture, how a curve runs."""

from collections.abc import Sequence
from itertools import pairwise

from guidelab.paper.cells import number
from guidelab.paper.evidence import Change

_PHRASES = {  # metric -> (phrase, unit, digits)
    "outliers_99": ("outliers", "%", 1),
    "outliers_contour": ("outliers (outside the drawn contour)", "%", 1),
    "recall": ("recall", "", 2),
    "precision": ("precision", "", 2),
    "mass_covered": ("covered mass", "%", 0),
    "branches_empty": ("empty branches", "", 0),
    "leaf_mass": ("mass on the leaves", "%", 1),
    "kl": ("KL(data‖model)", "", 2),
    "kl_reverse": ("KL(model‖data)", "", 2),
    "js": ("the Jensen–Shannon divergence", "", 3),
    "frechet": ("the Fréchet distance", "", 4),
    "chi2": ("χ²(data‖model)", "", 2),
    "hellinger2": ("the squared Hellinger distance", "", 3),
}


def phrase(metric: str) -> str:
    """A metric in running text."""
    return _PHRASES.get(metric, (metric.replace("_", " "), "", 3))[0]


def show(metric: str, value: float) -> str:
    """A value with the unit it has in running text: `13.2 %`, `0.97`."""
    _, unit, digits = _PHRASES.get(metric, ("", "", 3))
    return number(value, unit, digits) + (" %" if unit == "%" else "")


def sentence(metric: str, c: Change) -> str:
    """`Recall fell in 5 of 5 trainings, from 0.97 to 0.76 (difference −0.21 [−0.25, −0.17]).`"""
    moved = [f"{word} in {k}" for word, k in (("fell", c.down), ("rose", c.up)) if k]
    same = c.n - c.down - c.up
    if same:
        moved.append(f"stayed in {same}")
    if c.n == 1:
        did, range_ = moved[0].split(" in ")[0], "; one training"
    else:
        did = " and ".join(moved) + f" of {c.n} trainings"
        gap, lo, hi = (show(metric, v).removesuffix(" %") for v in (c.after - c.before, c.lo, c.hi))
        points = " points" if show(metric, 0.0).endswith("%") else ""
        range_ = f"; difference {gap}{points}, 95 % interval [{lo}, {hi}]"
    name = phrase(metric)
    return f"{name[0].upper()}{name[1:]} {did} ({show(metric, c.before)} → {show(metric, c.after)}{range_})."


def against(way: str, c: Change) -> str:
    """Does the change agree with a picture that suggests `down`, `up` or `same`? In words, bold."""
    if way == "same":
        if c.down == c.up == 0 or (c.n > 1 and not c.clear):
            return "**As in the picture**: no clear change."
        if c.n == 1:
            return "**Not as in the picture**, in this training."
        return "**Not as in the picture**: it changed."
    with_, against_ = (c.down, c.up) if way == "down" else (c.up, c.down)
    if with_ == c.n:
        if c.n == 1:
            return "**As in the picture**, in this training."
        return "**As in the picture**." if c.clear else "**As in the picture**, though the interval holds 0."
    if against_ == c.n:
        return "**The opposite of the picture**."
    if with_ == 0:
        return "**Not as in the picture**: no change." if against_ == 0 else "**Not as in the picture**."
    return f"**As in the picture in {with_} of {c.n} trainings only**."


def course(values: Sequence[float], weights: Sequence[float | None]) -> str:
    """`rises at every step`, `falls at every step`, or where the lowest point is (None: without guidance)."""
    steps = [b - a for a, b in pairwise(values)]
    if all(s > 0 for s in steps):
        return "rises at every step of w"
    if all(s < 0 for s in steps):
        return "falls at every step of w"
    best = weights[min(range(len(values)), key=lambda i: values[i])]
    return "is lowest without guidance" if best is None else f"is lowest at w = {best:g}"
