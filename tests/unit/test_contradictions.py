"""A measured row never stands unnamed beside a record that says something else: steps, evaluations, dtype, seeds, weight."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from trail_cases import TABLE, build

from guidelab.lineage.trail.book import Book
from guidelab.lineage.trail.contradictions import contradictions
from guidelab.lineage.trail.rows import Row, read_rows
from guidelab.lineage.trail.trace import trace

ROOT = Path(__file__).parents[2]
ROWS = "results/toy2d/measurements.csv"
POINT = "autog/w1.50/seeds0-4"


@pytest.fixture(scope="module")
def jobs():
    book = Book(ROOT)
    return [
        book.needed(f"results/toy2d/{folder}/{POINT}.{kind}")
        for folder, kind in (("samples", "safetensors"), ("measurements", "csv"))
    ]


@pytest.fixture(scope="module")
def row():
    rows = read_rows(ROOT / ROWS)
    return next(
        r
        for r in rows
        if r.cells["variant"] == "autog" and r.cells["w"] == "1.5" and r.cells["metric"] == "recall"
    )


@pytest.mark.parametrize("experiment", ["toy2d", "fashion", "fashion_full"])
def test_no_row_of_this_project_contradicts_its_records(experiment):
    book = Book(ROOT)
    steps = [
        step for path in book.recorded(experiment) if (step := book.step(path)).rule in ("sample", "measure")
    ]
    rows = read_rows(ROOT / f"results/{experiment}/measurements.csv")[::7]
    assert len(rows) > 80 and len(steps) > 10
    assert contradictions(ROWS, rows, steps) == []


def changed(step, keys, value):
    """A job with one of its recorded parameters changed."""
    *above, last = keys
    told = {**step.told}
    part = told
    for key in above:
        part[key] = part[key].copy()
        part = part[key]
    part[last] = value
    return replace(step, told=told)


@pytest.mark.parametrize(
    ("which", "keys", "value", "said"),
    [
        (0, ("sampler", "steps"), 9, "says steps 32, the record of results/toy2d/samples/autog/w1.50/seeds0-4.safetensors says 9"),
        (1, ("sampler", "steps"), 9, "says nfe 63, .* says 17"),
        (0, ("sampler", "dtype"), "float64", "says dtype float32, .* says float64"),
        (0, ("sampler", "name"), "euler", "says sampler heun, .* says euler"),
        (0, ("blocks",), {"select": [0, 9]}, "says seed_block report1, .* says select"),
        (0, ("blocks", "report1"), [100000, 100009], "says n_generated 4096, .* says seeds 100000-100009"),
        (0, ("terms", 0), {"weight": 1.6}, "says w 1.5, .* says 1.6"),
        (1, ("row", "w"), 1.6, "says w 1.5, .* says 1.6"),
        (1, ("row", "scale"), "full", "says scale reduced, .* says full"),
        (1, ("row", "sigma_hi"), None, r"says sigma_hi 5, .* says \(empty\)"),
        (0, ("sampler",), "heun", "is not as its job writes it"),
    ],
)  # fmt: skip
def test_a_record_that_says_something_else_than_the_row_is_named(jobs, row, which, keys, value, said):
    steps = list(jobs)
    steps[which] = changed(steps[which], keys, value)
    found = contradictions(ROWS, [row], steps)
    assert any(re.search(said, line) for line in found), found
    assert contradictions(ROWS, [row], jobs) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("steps", "8"), ("nfe", "64"), ("dtype", "float64"), ("seed_block", "report9"), ("n_generated", "5000"), ("w_neutral", "0"), ("ref", "blind"), ("sigma_lo", "0.1")],
)  # fmt: skip
def test_a_row_that_says_something_else_than_its_records_is_named(jobs, row, column, value):
    other = Row(row.number, {**row.cells, column: value})
    found = contradictions(ROWS, [other], jobs)
    assert found and all(f"says {column} {value}" in line for line in found)


def test_what_many_rows_say_alike_is_named_once(jobs, row):
    other = changed(jobs[0], ("sampler", "steps"), 9)
    rows = [Row(row.number + i, {**row.cells, "steps": "32"}) for i in range(50)]
    assert len(contradictions(ROWS, rows, [other])) == 1


def test_rows_of_other_points_and_trainings_are_not_compared(jobs, row):
    other = changed(jobs[0], ("sampler", "steps"), 9)
    for change in ({"w": "2"}, {"variant": "cfg"}, {"train_seed": "7"}):
        assert contradictions(ROWS, [Row(1, {**row.cells, **change})], [other]) == []


def test_the_trail_of_a_printed_number_names_the_contradiction(tmp_path):
    made = build(tmp_path)
    path = "results/e/measurements.csv"
    rows = (made.root / path).read_text().splitlines()
    made.write(path, "\n".join([rows[0] + ",steps", *(line + ",5" for line in rows[1:])]) + "\n")
    found = trace(TABLE, ["variant=cfg,w=2.00,metric=frechet"], None, root=made.root)
    assert any(
        "says steps 5, the record of" in problem and "says 4" in problem for problem in found["problems"]
    )
