"""Closing lines of an answer, over all comparisons of its question: how many, which one, whether both."""

from collections.abc import Callable

from guidelab.paper import names, reported, summary, wording
from guidelab.paper.evidence import Comparison, Evidence, Point, View


def _outcome(f: Evidence, c: Comparison) -> str:
    return f.outcome(c.before, c.after, f.main(c.after.variant, c.view))


def _tally(f: Evidence, found: list[Comparison]) -> list[str]:
    """How many are better and worse, in every view."""
    lines = []
    for view in f.views:
        mains = [(c, f.main(c.after.variant, view)) for c in found if c.view == view]
        gaps = [(f.difference(c.before, c.after, m), str(f.info[m]["direction"])) for c, m in mains]
        where = f", in {wording.space(view)}" if view.space else ""
        lines.append(f"- In all{where}: {wording.tally(gaps)}.")
    return lines


def _winner(f: Evidence, found: list[Comparison]) -> list[str]:
    """Which of two wins in each view, and whether the views agree."""
    lines, clear = [], set()
    for c in found:
        outcome = _outcome(f, c)
        ahead = {summary.BETTER: c.after, summary.WORSE: c.before}.get(outcome)
        clear |= {outcome} if ahead else set()
        where = f" in {wording.space(c.view)}" if c.view.space else ""
        lines.append(
            f"- **{wording.capital(names.label(ahead.variant))} wins**{where}."
            if ahead
            else f"- **A draw**{where}."
        )
    if len(found) > 1:
        lines.append(
            "- **The feature space decides which of the two wins.**" if len(clear) == 2
            else "- The feature spaces do not contradict each other on the winner."
        )  # fmt: skip
    return lines


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
    for c in found:
        of.setdefault((c.after, c.view), []).append(_outcome(f, c))
    lines = []
    for (after, view), outcomes in of.items():
        wins = len(outcomes) == 2 and all(o == summary.BETTER for o in outcomes)
        said = "**beats either alone**" if wins else "**is not shown to beat either alone**"
        lines.append(f"- {wording.point(after)} {said}{f' in {wording.space(view)}' if view.space else ''}.")
    return lines


def _best_guide(f: Evidence, found: list[Comparison]) -> list[str]:
    """The best guide by the block that chose the weights, and its mean on the others."""
    lines = []
    for view in f.views:
        variants = list(
            dict.fromkeys(v for c in found if c.view == view for v in (c.before.variant, c.after.variant))
        )
        best = f.best_on_choosing_block([v for v in variants if not names.suffix(v)], view)
        if best:
            at, info = f.point(best, view), f.info[f.main(best, view)]
            where = f" in {wording.space(view)}" if view.space else ""
            lines.append(
                f"- Best of these {len([v for v in variants if not names.suffix(v)])} by {info['name']} on the choosing block{where}: "
                f"{wording.point(at)}, {info['name']} {wording.value(info, f.mean(at, f.main(best, view)))} on the others."
            )
    return lines


def _fewest_outliers(f: Evidence, found: list[Comparison]) -> list[str]:
    """Which guide leaves the fewest outliers on the trainings that all guides have."""
    best = (
        f.best(f.rows, [c.after for c in found], f.views[0], "outliers_99")
        if "outliers_99" in f.info
        else None
    )
    return (
        [f"- On the trainings that all have, {names.label(best)} leaves the fewest outliers."] if best else []
    )


CLOSINGS: dict[str, Callable[[Evidence, list[Comparison]], list[str]]] = {
    "tally": _tally, "winner": _winner, "effort": _effort, "sums": _sums, "best_guide": _best_guide,
    "fewest_outliers": _fewest_outliers,
}  # fmt: skip
