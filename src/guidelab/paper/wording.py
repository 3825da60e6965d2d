"""Words for numbers: a value, a difference of two points, its verdict, where a curve has its lowest point."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from guidelab.errors import counted
from guidelab.paper import metric_names, names, reported, summary
from guidelab.paper.cells import number
from guidelab.paper.evidence import Comparison, Evidence, Point, View

NO_NUMBER = "no sound number"


def value(info: Mapping[Any, Any], x: float) -> str:
    """A number with the digits its size allows: 178, 2.58, 0.558, 92.1 %.

    Args:
        info: unit and digits of its metric.
        x: the number.
    """
    unit, digits = str(info["unit"]), int(info["digits"])
    if abs(x) >= 10 and unit != "%":
        digits = max(0, min(digits, 2 - int(math.log10(abs(x)))))
    return number(x, unit, digits) + (" %" if unit == "%" else "")


def effect(info: Mapping[Any, Any], d: summary.Difference) -> str:
    """`416 → 178 (difference −238 [−247, −229], fell in 3 of 3 trainings)`; the brackets are the 95 % interval."""
    gap, lo, hi = (value(info, x).removesuffix(" %") for x in (d.value, d.lo, d.hi))
    points = " points" if info["unit"] == "%" else ""
    ends = "" if math.isnan(d.lo) else f" [{lo}, {hi}]"
    change = f"difference {gap}{points}{ends}, {trainings(d)}"
    return f"{value(info, d.before)} → {value(info, d.after)} ({change})"


def trainings(d: summary.Difference) -> str:
    """`fell in 2 and rose in 1 of 3 trainings`, `one training`."""
    if d.n_trainings == 1:
        return "one training"
    moves = (("fell", d.down), ("rose", d.up), ("stayed", d.n_trainings - d.down - d.up))
    return " and ".join(f"{word} in {k}" for word, k in moves if k) + f" of {d.n_trainings} trainings"


def verdict(info: Mapping[Any, Any], d: summary.Difference, *, main: bool) -> str:
    """`**better**: FID`, or of other metrics than the main one `recall clearly higher,`."""
    if main:
        return f"**{d.verdict(str(info['direction']))}**: {info['name']}"
    moved = "no clear change" if not d.clear else ("clearly higher" if d.value > 0 else "clearly lower")
    return f"{info['name']} {moved},"


def picture(way: str, d: summary.Difference) -> str:
    """Does the difference agree with a figure that suggests `down`, `up` or `same`? In bold words."""
    one = d.n_trainings == 1
    if way == "same":
        if d.down == d.up == 0 or not (one or d.excludes_zero):
            return "**As in the figure**: no clear change."
        return "**Not as in the figure**" + (", in this training." if one else ": it changed.")
    agree, oppose = (d.down, d.up) if way == "down" else (d.up, d.down)
    if agree == d.n_trainings:
        if one:
            return "**As in the figure**, in this training."
        return "**As in the figure**" + ("." if d.excludes_zero else ", though the interval holds 0.")
    if oppose == d.n_trainings:
        return "**The opposite of the figure**" + (", in this training." if one else ".")
    if agree == 0:
        return "**Not as in the figure**" + (": no change." if oppose == 0 else ".")
    return f"**As in the figure in {agree} of {d.n_trainings} trainings only**."


def place(f: Evidence, c: Comparison) -> str:
    """`In Lite0 features at w = 2 against w = 1.5`: the space and weights of a comparison, capitalised; of points what chose the weight."""
    variant, w = c.after
    how = [f.how_chosen(c.after, c.view)]
    if not c.view.space and variant in f.swept and w in reported.choices(f.selected, variant).values():
        how.insert(0, f"chosen by {f.info[f.main(variant, c.view)]['name']}")
    at = f"at w = {w:g}{_remark(*how)}"
    if c.before.variant != variant and c.before.variant in f.guided:
        at += f" against w = {c.before.w:g}{_remark(f.how_chosen(c.before, c.view))}"
    return capital(f"in {space(c.view)} {at}" if c.view.space else at)


def _remark(*said: str) -> str:
    return f" ({', '.join(filter(None, said))})" if any(said) else ""


def capital(text: str) -> str:
    """`text` with a capital letter first."""
    return text[0].upper() + text[1:]


def space(view: View) -> str:
    """`Lite0 features`."""
    return f"{metric_names.features_short(view.space)} features"


def point(at: Point) -> str:
    """`CFG, w = 2`."""
    return names.point_label(f"{at.variant}/w{at.w:.2f}")


def course(curve: Sequence[tuple[float | None, float]]) -> str:
    """`rises at every step of w`, `falls at every step of w`, or where the lowest point is (None: without guidance)."""
    steps = [b - a for (_, a), (_, b) in pairwise(curve)]
    if all(s > 0 for s in steps):
        return "rises at every step of w"
    if all(s < 0 for s in steps):
        return "falls at every step of w"
    best, _ = min(curve, key=lambda at: at[1])
    return "is lowest without guidance" if best is None else f"is lowest at w = {best:g}"


def bracket(f: Evidence, variant: str, view: View) -> str:
    """Where the chosen weight lies among those tried, and where the other blocks have their best mean; empty without it.

    Below the smallest weight tried stands no guidance, if that is what the variant is at its neutral weight.
    """
    metric = f.main(variant, view)
    sign = -1.0 if f.info[metric]["direction"] == "higher" else 1.0
    curve = {w: sign * v for w, v in f.curve(variant, metric).items() if not math.isnan(v)}
    chosen, neutral, base = f.weight(variant, view), f.neutral(variant), f.base(variant)
    if chosen not in curve:
        return ""
    whole = base is not None and reported.starts_unguided(f.rows, variant, f.mains)
    if chosen == neutral and whole:
        return f"the choice is the neutral weight {chosen:g}: no guidance."
    smaller = {w: v for w, v in curve.items() if w < chosen}
    unguided = sign * f.mean(f.point(str(base), view), metric) if whole else math.nan
    if not math.isnan(unguided):
        smaller[neutral] = unguided
    above = "above" if chosen > neutral else "not above"
    said = (
        f"w = {chosen:g} of {', '.join(f'{w:g}' for w in sorted(curve))}, {above} the neutral {neutral:g}; "
    )
    said += _bracketed(
        curve, smaller, chosen, neutral, f"{f.info[metric]['name']} is {'higher' if sign > 0 else 'lower'}"
    )
    best = min(curve, key=lambda w: curve[w])
    if curve[best] >= unguided:
        said += f"; **none of the {counted(len(curve), 'weight')} tried beats no guidance**"
    return said + (f"; these blocks have their best mean at w = {best:g}." if best != chosen else ".")


def _bracketed(
    curve: Mapping[float, float], smaller: Mapping[float, float], chosen: float, neutral: float, worse: str
) -> str:
    """Whether smaller and larger weights are worse than the chosen one."""
    below = any(v > curve[chosen] for v in smaller.values())
    above = any(v > curve[chosen] for w, v in curve.items() if w > chosen)
    if below and above:
        how = "without guidance" if set(smaller) == {neutral} else "at a smaller"
        return f"**bracketed**: {worse} {how} and at a larger weight"
    if above and not smaller:
        return "**not bracketed**: it is the smallest weight tried"
    if above:
        return f"**not bracketed on these blocks**: {worse} neither without guidance nor at a smaller weight"
    if chosen == max(curve):
        return "**not bracketed**: it is the largest weight tried, the optimum may lie beyond"
    return f"**not bracketed on these blocks**: {worse} at no larger weight"


def tally(differences: list[tuple[summary.Difference, str]]) -> str:
    """`2 of 4 variants clearly better than no guidance, 0 clearly worse (1 of these by one training), the others neither`.

    Args:
        differences: each with the direction in which its metric is better.
    """
    found = [(d.verdict(direction), d.n_trainings) for d, direction in differences]
    better, worse = (
        [n for outcome, n in found if outcome == word] for word in (summary.BETTER, summary.WORSE)
    )
    single = [*better, *worse].count(1)
    note = f" ({single} of these by one training)" if single else ""
    return (
        f"{len(better)} of {counted(len(found), 'variant')} clearly better than no guidance, {len(worse)} clearly worse{note}, "
        "the others neither"
    )
