"""Choose the lines of a table: the paper's points, the selected weights, variants with one weight."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from guidelab.errors import UserError
from guidelab.paper import names, published

HEADLINE, CHOSEN, SINGLE, BOTH = "headline", "selected", "single weight", "headline and selected"
PAPERS = "the paper's"  # in chosen_by: a weight that is printed for its published value


@dataclass(frozen=True)
class Line:
    """One printed line: a point, and how its weight came about.

    Attributes:
        variant: its name. w: its weight; None for a variant without rows.
        row: HEADLINE, CHOSEN, SINGLE or BOTH.
        chosen_by: the metrics that chose the weight. chosen_on: the seed block. tried: how many weights there were.
    """

    variant: str
    w: float | None
    row: str = SINGLE
    chosen_by: tuple[str, ...] = ()
    chosen_on: str = ""
    tried: int = 0


def lines(measurements: pd.DataFrame, selected: pd.DataFrame, spec: Mapping[str, Any]) -> list[Line]:
    """The lines in order: those of `headline` first; every measured or planned variant has at least one.

    Two metrics may choose two weights of a variant: these are two lines.

    Raises:
        UserError: a variant was measured at several weights and none was chosen.
    """
    fixed: list[Line] = []
    for point in spec["headline"]:
        variant, w = names.split_point(point)
        fixed.append(Line(variant, 1.0 if w is None else w, HEADLINE))
    other: list[Line] = []
    of_papers = published.points(spec)
    for variant in names.ordered([*spec.get("variants", []), *measurements["variant"]]):
        weights = sorted(measurements.loc[measurements["variant"] == variant, "w"].unique())
        mine = selected[selected["variant"] == variant]
        if len(weights) > 1 and mine.empty:
            raise UserError(
                f"selected: no row for {variant}, which was measured at {len(weights)} weights; wanted one, else "
                "the table would drop it. Collect again."
            )
        if len(weights) > 1:
            for line in _chosen(variant, weights, mine, of_papers.get(variant, set())):
                same = [i for i, f in enumerate(fixed) if f.variant == variant and _close(f.w, line.w)]
                if same:
                    fixed[same[0]] = replace(line, row=BOTH)
                else:
                    other.append(line)
        elif variant not in {f.variant for f in fixed}:
            other.append(Line(variant, float(weights[0]) if weights else None, tried=len(weights)))
    return fixed + other


def images(spec: Mapping[str, Any]) -> bool:
    """Whether a table is of images: one CSV row a line, words of their own; else one CSV row a number."""
    return spec.get("kind") == "images"


def _chosen(variant: str, weights: list[float], mine: pd.DataFrame, papers: set[float]) -> Iterator[Line]:
    """The chosen weights of a variant, then those of published values."""
    for w, part in mine.groupby("w", sort=False):
        by = tuple(str(m) for m in part["metric"])
        on, tried = str(part["selected_on"].iloc[0]), int(part["n_candidates"].iloc[0])
        yield Line(variant, float(str(w)), CHOSEN, by, on, tried)
    taken = {round(float(w), 2) for w in mine["w"]}
    for w in sorted({round(w, 2) for w in papers} - taken):
        if any(_close(w, x) for x in weights):
            yield Line(variant, w, CHOSEN, (PAPERS,))


def _close(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and abs(a - b) < 5e-3
