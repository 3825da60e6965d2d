"""Answers to the questions: one line for each comparison, and closing lines over all comparisons of a question."""

import math
from collections.abc import Callable, Iterator

from guidelab.paper import names, reported, summary, wording
from guidelab.paper.closings import CLOSINGS
from guidelab.paper.evidence import Comparison, Evidence, Point, View
from guidelab.paper.questions import AGREEMENT, BASE, BRACKET, COMMON, COMPARED, COURSE, MAIN, SELF, Question


def answer(f: Evidence, q: Question) -> list[str]:
    """The lines that answer a question; none where its rows were not measured."""
    return _ANSWERS[q.answer](f, q)


# ---- which points ------------------------------------------------------------------------------------------------------


def comparisons(f: Evidence, q: Question) -> list[Comparison]:
    """The comparisons of a question whose points were measured, variant by variant, every view of each."""
    found = [
        Comparison(view, against, *points)
        for against, before, after in dict.fromkeys(_variants(f, q))
        for view in f.views
        if (points := _points(f, q, view, before, after)) is not None
    ]
    return list(dict.fromkeys(found))


def _variants(f: Evidence, q: Question) -> Iterator[tuple[str, str, str]]:
    """(against, before, after): variants, or points with a weight; where there are several kinds of nets, those of each kind."""
    kinds = list(dict.fromkeys(["", *map(names.suffix, f.variants)]))
    for against, side in q.pairs:
        alone = [v for v in f.guided if names.section(v) == side]
        named = [side] if "/" in side else [side + kind for kind in kinds]
        for after in alone or [v for v in named if v.partition("/")[0] in f.variants]:
            variant = after.partition("/")[0]
            before = {BASE: f.base(variant), SELF: variant}.get(against, f"{against}{names.suffix(variant)}")
            if before is not None and before.partition("/")[0] in f.variants:
                yield against, before, after


def _points(f: Evidence, q: Question, view: View, before: str, after: str) -> tuple[Point, Point] | None:
    """Both points of a comparison; of a variant with itself that has no guidance at its own weight, the largest weight."""
    variant, w = names.split_point(after)
    own = f.point(variant, view) if w is None else Point(variant, w)
    first, at = names.split_point(before)
    if q.at == COMMON:
        own = Point(variant, _common_weight(f, q))
    if before != variant:
        both = (f.point(first, view) if at is None else Point(first, at), own)
    else:
        neutral = f.neutral(variant)
        weights = reported.weights(f.rows, variant)
        both = (Point(before, neutral), own if own.w != neutral else Point(variant, max(weights)))
    return (
        None
        if any(math.isnan(p.w) or reported.at_point(f.rows, *p).empty for p in both) or both[0] == both[1]
        else both
    )


def _common_weight(f: Evidence, q: Question) -> float:
    """The weight nearest to 2 that all variants of a question have; nan when there is none, or only one variant."""
    all_of = [set(reported.weights(f.rows, after)) for _, _, after in _variants(f, q)]
    common = set.intersection(*all_of) if len(all_of) > 1 else set()
    return min(common, key=lambda w: abs(w - 2.0), default=math.nan)


# ---- comparisons -------------------------------------------------------------------------------------------------------


def _compared(f: Evidence, q: Question) -> list[str]:
    found = comparisons(f, q)
    lines = [line for c in found for line in _expected(f, q, c)] if q.expected else _lines(f, q, found)
    return lines + [line for name in q.closing if lines for line in CLOSINGS[name](f, found)]


def _expected(f: Evidence, q: Question, c: Comparison) -> list[str]:
    """A line for each metric of a figure, with what the figure suggests."""
    lines = []
    for name, way in q.expected.items():
        d = f.difference(c.before, c.after, name)
        if d.n_trainings:
            info = f.info[name]
            lines.append(
                f"- {wording.capital(str(info['name']))}: {wording.effect(info, d)}. {wording.picture(way, d)}"
            )
        elif f.measured(c.after, name):
            lines.append(f"- {wording.capital(str(f.info[name]['name']))}: {wording.NO_NUMBER}.")
    return lines


def _lines(f: Evidence, q: Question, found: list[Comparison]) -> list[str]:
    """A line for each pair of variants: a sentence in every view."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for c in found:
        said = _sentence(f, q, c)
        if said:
            lines.setdefault((c.against, c.before.variant, c.after.variant), []).append(said)
    return [
        f"- {names.label(after)}{_against(f, against, before)}: {' '.join(said)}"
        for (against, before, after), said in lines.items()
    ]


def _against(f: Evidence, against: str, before: str) -> str:
    return {BASE: "", SELF: f" against {SELF}"}.get(against, f" against {names.label(before)}")


def _sentence(f: Evidence, q: Question, c: Comparison) -> str:
    """`In Lite0 features at w = 2, **better**: FID 416 → 178 (...); recall clearly higher, 0.322 → 0.558 (...).`"""
    main = f.main(c.after.variant, c.view)
    parts = []
    for metric in dict.fromkeys(main if m == MAIN else c.view.metric(m) for m in q.metrics):
        if metric not in f.info or not f.measured(c.after, metric) or not f.measured(c.before, metric):
            continue
        info, d = f.info[metric], f.difference(c.before, c.after, metric)
        if d.n_trainings:
            judged = metric == main and f.fair(c)
            parts.append(f"{wording.verdict(info, d, main=judged)} {wording.effect(info, d)}")
        else:
            parts.append(f"{info['name']}: {wording.NO_NUMBER}")
    own = f.point(c.after.variant, c.view)
    note = f"The best weight is {own.w:g}, no guidance. " if c.against == SELF and own.w == c.before.w else ""
    return f"{note}{wording.place(f, c)}, {'; '.join(parts)}." if parts else ""


# ---- curves and feature spaces -----------------------------------------------------------------------------------------


def _bracket(f: Evidence, q: Question) -> list[str]:
    """Whether the chosen weight lies between worse ones."""
    variants = dict.fromkeys(after for _, _, after in _variants(f, q) if after in f.swept)
    said = [(v, view, wording.bracket(f, v, view)) for v in variants for view in f.views]
    return [
        f"- {names.label(v)}{f', {wording.space(view)}' if view.space else ''}: {text}"
        for v, view, text in said
        if text
    ]


def _course(f: Evidence, q: Question) -> list[str]:
    """How a metric runs over the weight of each method, starting from no guidance."""
    (metric,), lines = q.metrics, []
    if metric not in f.info:
        return []
    for _, base, variant in _variants(f, q):
        if variant not in f.swept:
            continue
        start = f.mean(f.point(base, f.views[0]), metric)
        curve = {w: v for w, v in f.curve(variant, metric).items() if not math.isnan(v)}
        if math.isnan(start) or not curve:
            lines.append(f"- {names.label(variant)}: {wording.NO_NUMBER}.")
            continue
        info = f.info[metric]
        from_start = [(None, start), *curve.items()]
        values = ", ".join(f"{wording.value(info, v)} at w = {w:g}" for w, v in curve.items())
        lines.append(
            f"- {names.label(variant)}: {info['name']} {wording.course(from_start)} ({wording.value(info, start)} "
            f"without guidance; {values})."
        )
    return lines


def _agreement(f: Evidence, q: Question) -> list[str]:
    """Whether two feature spaces order the points alike, choose the same weights and reach the same verdicts."""
    if len(f.views) < 2:
        return []
    a, b = f.views[:2]
    (fid, points), (recall, _) = (f.rank_correlation(a.metric(m), b.metric(m)) for m in q.metrics)
    apart = [v for v in f.swept if f.weight(v, a) != f.weight(v, b)]
    said = "; ".join(f"{names.label(v)} ({f.weight(v, a):g} and {f.weight(v, b):g})" for v in apart)
    bases = f.guided if f.mains else {v: "none" for v in f.variants if v != "none"}
    pairs = {
        v: tuple(f.outcome(f.point(base, view), f.point(v, view), view.metric("fid")) for view in (a, b))
        for v, base in bases.items()
    }
    against = [v for v, pair in pairs.items() if set(pair) == {summary.BETTER, summary.WORSE}]
    return [
        f"- Rank correlation (Spearman) of FID in the two over {points} points at {f.steps} steps: {fid:.2f}; recall: {recall:.2f}.",
        f"- Weights chosen apart in {len(apart)} of {len(f.swept)} sweeps{': ' + said if said else ''}.",
        f"- Verdicts against no guidance agree in {sum(one == two for one, two in pairs.values())} of {len(pairs)} variants and "
        f"contradict each other in {len(against)}{': ' + '; '.join(map(names.label, against)) if against else ''}.",
    ]  # fmt: skip


_ANSWERS: dict[str, Callable[[Evidence, Question], list[str]]] = {
    COMPARED: _compared, BRACKET: _bracket, COURSE: _course, AGREEMENT: _agreement,
}  # fmt: skip
