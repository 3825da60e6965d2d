"""Closing lines of an answer, over all comparisons of its question: how many, which one, whether both."""

from collections.abc import Callable

from guidelab.paper import names, reported, summary, wording
from guidelab.paper.evidence import Comparison, Evidence, Point, View

_UNTUNED = "No winner is named{where}: a weight that this metric did not choose among several says nothing of the method"


def _where(view: View) -> str:
    return f" in {wording.space(view)}" if view.space else ""


def _outcome(f: Evidence, c: Comparison) -> str:
    return f.outcome(c.before, c.after, f.main(c.after.variant, c.view))


def _tally(f: Evidence, found: list[Comparison]) -> list[str]:
    """How many are better and worse, in every view."""
    lines = []
    for view in f.views:
        mains = [(c, f.main(c.after.variant, view)) for c in found if c.view == view]
        gaps = [(f.difference(c.before, c.after, m), str(f.info[m]["direction"])) for c, m in mains]
        where = f", in {wording.space(view)}" if view.space else ""
        single = sum(c.after.variant not in f.swept for c, _ in mains)
        alone = f"; {single} of them at the only weight tried" if single else ""
        lines.append(f"- In all{where}: {wording.tally(gaps)}{alone}.")
    return lines


def _winner(f: Evidence, found: list[Comparison]) -> list[str]:
    """Which of two wins in each view, and whether the views agree."""
    lines, clear = [], set()
    for c in found:
        outcome = _outcome(f, c)
        ahead = {summary.BETTER: c.after, summary.WORSE: c.before}.get(outcome)
        where = _where(c.view)
        if not f.fair(c):
            lines.append(f"- {_UNTUNED.format(where=where)}.")
        elif not ahead:
            lines.append(f"- **A draw**{where}.")
        elif _gains(f, ahead, c.view):
            clear |= {outcome}
            lines.append(f"- **{wording.capital(names.label(ahead.variant))} wins**{where}.")
        else:
            behind = names.label((c.before if ahead == c.after else c.after).variant)
            name = wording.capital(names.label(ahead.variant))
            lines.append(
                f"- {name} is better than {behind}{where}, but not shown to be better than no guidance: no winner."
            )
    if len(found) > 1 and all(f.fair(c) for c in found):
        lines.append(
            "- **The feature space decides which of the two wins.**" if len(clear) == 2
            else "- The feature spaces do not contradict each other on the winner."
        )  # fmt: skip
    return lines


def _gains(f: Evidence, point: Point, view: View) -> bool:
    """Whether a point is clearly better than no guidance of the same net."""
    base = f.base(point.variant)
    metric = f.main(point.variant, view)
    return base is not None and f.outcome(f.point(base, view), point, metric) == summary.BETTER


def _effort(f: Evidence, found: list[Comparison]) -> list[str]:
    """How many weights and guides both had to choose from."""
    before, after = found[0].before.variant, found[0].after.variant
    tried = [len(reported.weights(f.rows, v)) for v in (before, after)]
    return [
        f"- Choice: the compared lines have {tried[0]} and {tried[1]} weights to choose from and one guide each, named in "
        f"params.yaml. Guides tried in all: {f.guides('cfg')} for CFG, {f.guides('autog')} for autoguidance; the best of these "
        "is not what is compared here."
    ]


def _sums(f: Evidence, found: list[Comparison]) -> list[str]:
    """Whether a sum beats both of its parts, in every view."""
    of: dict[tuple[Point, View], list[str]] = {}
    unfair = dict.fromkeys(c.view for c in found if not f.fair(c))
    lines = [f"- {_UNTUNED.format(where=_where(view))}." for view in unfair]
    for c in found:
        if f.fair(c):
            of.setdefault((c.after, c.view), []).append(_outcome(f, c))
    for (after, view), outcomes in of.items():
        wins = len(outcomes) == 2 and all(o == summary.BETTER for o in outcomes)
        said = "**beats either alone**" if wins else "**is not shown to beat either alone**"
        lines.append(f"- {wording.point(after)} {said}{_where(view)}.")
    return lines


def _best_guide(f: Evidence, found: list[Comparison]) -> list[str]:
    """The best guide by the block that chose the weights, and its mean on the others."""
    lines = []
    for view in f.views:
        variants = list(
            dict.fromkeys(v for c in found if c.view == view for v in (c.before.variant, c.after.variant))
        )
        variants = [v for v in variants if not names.suffix(v)]
        tuned = [v for v in variants if f.tuned(v, view)]
        where = _where(view)
        best = f.best_on_choosing_block(tuned, view) if len(tuned) > 1 else None
        if best:
            at, info = f.point(best, view), f.info[f.main(best, view)]
            lines.append(
                f"- Best of these {len(tuned)} by {info['name']} on the choosing block{where}: "
                f"{wording.point(at)}, {info['name']} {wording.value(info, f.mean(at, f.main(best, view)))} on the others."
            )
        if len(tuned) < len(variants):
            alone = ", ".join(names.label(v) for v in variants if v not in tuned)
            lines.append(f"- Not ranked{where}, as their weight was not chosen among several: {alone}.")
    return lines


def _fewest_outliers(f: Evidence, found: list[Comparison]) -> list[str]:
    """Which guide leaves the fewest outliers on the trainings that all guides have."""
    points = {c.after.variant: c.after for c in found}
    ranked = (
        f.ranked(f.rows, list(points.values()), f.views[0], "outliers_99") if "outliers_99" in f.info else []
    )
    if len(ranked) < 2:
        return []
    best, others = ranked[0], ranked[1:]
    tied = [names.label(v) for v in others if not f.difference(points[v], points[best], "outliers_99").clear]
    said = f", not clearly fewer than {', '.join(tied)}" if tied else ", clearly fewer than each other guide"
    return [f"- On the trainings that all have, {names.label(best)} leaves the fewest outliers{said}."]


CLOSINGS: dict[str, Callable[[Evidence, list[Comparison]], list[str]]] = {
    "tally": _tally, "winner": _winner, "effort": _effort, "sums": _sums, "best_guide": _best_guide,
    "fewest_outliers": _fewest_outliers,
}  # fmt: skip
