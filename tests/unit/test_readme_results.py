"""The results on README's first screen are those of the measurements in git, with their intervals."""

import re
from pathlib import Path

import pandas as pd
import pytest

from guidelab.io import read_csv
from guidelab.paper import reported, summary
from guidelab.paper.cells import interval

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
POINTS = {
    "no guidance": ("none", 1.0),
    "autoguidance, w = 3 (its paper's weight)": ("autog", 3.0),
    "DG, w = 1 (its theory's weight)": ("dg", 1.0),
}
METRICS = {"outliers, %": "outliers_99", "recall": "recall", "exact JS, nats": "js"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    found = read_csv(ROOT / "results/toy2d/measurements.csv")
    return reported.rows(found, read_csv(ROOT / "results/toy2d/selected.csv"))


def printed(metric: str, value: float, lo: float, hi: float) -> str:
    unit = "%" if metric == "outliers_99" else ""
    return interval(value, lo, hi, unit, 1 if unit else 3)


def table() -> dict[str, list[str]]:
    lines = [
        [cell.strip() for cell in line.strip()[1:-1].split("|")]
        for line in README.splitlines()
        if line.startswith("|")
    ]
    start = next(i for i, line in enumerate(lines) if line[1:] == list(METRICS))
    return {line[0].strip("*"): line[1:] for line in lines[start + 2 : start + 2 + len(POINTS)]}


def test_the_table_is_that_of_the_measurements(rows):
    for label, point in POINTS.items():
        made = []
        for metric in METRICS.values():
            e = summary.estimate(reported.at_point(rows, *point, metric), share=metric == "outliers_99")
            assert (e.n_trainings, e.over) == (5, summary.TRAININGS)
            made.append(printed(metric, e.value, e.lo, e.hi))
        assert table()[label] == made, f"README: {label}: given {table()[label]}, wanted {made}"


def test_the_differences_in_words_are_those_of_the_measurements(rows):
    before, after = (
        POINTS["autoguidance, w = 3 (its paper's weight)"],
        POINTS["DG, w = 1 (its theory's weight)"],
    )
    verdicts = {}
    for metric, unit in (("outliers_99", " points"), ("recall", ""), ("js", " nats")):
        d = summary.paired(*(summary.sound(reported.at_point(rows, *p, metric)) for p in (before, after)))
        verdicts[metric] = d.clear
        assert f"{printed(metric, d.value, d.lo, d.hi)}{unit}" in README, printed(metric, d.value, d.lo, d.hi)
    assert verdicts == {"outliers_99": False, "recall": True, "js": True}


def test_readme_does_not_claim_what_was_not_computed():
    assert not re.search(r"every number of two (guidance )?papers", README, re.IGNORECASE)
    assert "depends on the features" not in README
