"""Schema of an experiment's `paper:` block: headline points, figures, and the published values to reproduce."""

import csv
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from guidelab.project import resource
from guidelab.spec.base import Name, Point, Strict
from guidelab.spec.figures import Figures
from guidelab.spec.marks import Once, PointRef
from guidelab.spec.mistakes import Mistake, shown, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

PUBLISHED = "workflow/resources/published.csv"
_FULL = "full"  # the scale at which numbers are compared with published ones
Row = Annotated[str, Field(min_length=1, max_length=200)]


class Paper(Strict):
    """Printed results: `headline` points (always a table row), figures, and for each point the published rows it reproduces."""

    headline: Annotated[list[Annotated[Point, PointRef()]], Once(), Field(max_length=1000)]
    figures: Figures
    published: Annotated[
        dict[Annotated[Point, PointRef()], Annotated[list[Row], Once()]], Field(max_length=1000)
    ] = {}
    # the rows of published.csv that a point is to reproduce
    published_experiment: Name | None = None  # whose rows; by default this experiment's

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Mistakes in `published` at full scale: rows (ROW or ROW [metric]) that are not in published.csv."""
        if not self.published or e.scale != _FULL:
            return
        of = self.published_experiment or e.name
        listed = published_rows()
        if of not in listed:
            yield Mistake(
                f"{where}.published_experiment",
                of,
                f"an experiment with rows in {PUBLISHED}, or no `published`",
                list(listed),
            )
            return
        for point, rows in self.published.items():
            for row in rows:
                name, _, metric = (
                    row.removesuffix("]").partition(" [") if row.endswith("]") else (row, "", "")
                )
                place = f"{where}.published.{point}"
                yield unknown(place, name, f"a row of {of} in {PUBLISHED}", listed[of])
                if metric and name in listed[of] and metric not in listed[of][name]:
                    yield f"{place}: given {shown(row)}, wanted one of its metrics: {', '.join(listed[of][name])}"


def published_rows() -> dict[str, dict[str, list[str]]]:
    """Experiment -> published row -> its metrics; empty where the list cannot be read."""
    source = Path(resource(PUBLISHED))
    return _read(str(source.absolute()), source.stat().st_mtime_ns) if source.is_file() else {}


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> dict[str, dict[str, list[str]]]:
    """The rows as they are now: read again only when the file has changed."""
    found: dict[str, dict[str, list[str]]] = {}
    with Path(path).open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            metrics = found.setdefault(row.get("experiment") or "", {}).setdefault(row.get("row") or "", [])
            metrics.append(row.get("metric") or "")
    return found
