# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The table of divergences: every estimate beside what it estimates, and how often its interval holds it."""

from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, names
from guidelab.paper.cells import Sheet
from guidelab.paper.sigma import grader, numbers, relative, repeats
from guidelab.paper.sigma.numbers import CAVEAT, FOUND, MANY, NAMES

COLUMNS = [
    "experiment", "scale", "point", "label", "train_seed", "divergence", "estimator", "sigma_lo", "sigma_hi", "n",
    "bound", "value", "lo", "hi", "status", "estimates", "truth", "truth_lo", "truth_hi", "truth_status",
    "relative_error", "relative_lo", "relative_hi", *repeats.COLUMNS, "note",
]  # fmt: skip
_KINDS = ("truth", "estimate", "target")
_BOUNDS = {"kl": ("nwj", "dv"), "kl_reverse": ("nwj",), "js": ("nwj",), "chi2": ("nwj",)}
_DV, _FOR_MANY = ("dv", "dv_raw"), "for many points"  # Donsker–Varadhan's property


def make_table(rows: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """One row for each point, divergence and estimator, columns COLUMNS.

    Args:
        rows: of `guidelab diverge`, all points of one experiment.
        spec: experiment and scale.
    """
    table = []
    for (point, seed), mine in rows.groupby(["point", "train_seed"], sort=False):
        kept = mine[mine["kind"].isin(_KINDS) & ~mine["estimator"].str.endswith("_target")]
        for row in kept.to_dict("records"):
            table.append({
                "experiment": spec["experiment"], "scale": names.scale_name(str(spec["scale"])), "point": point,
                "label": numbers.point_label(str(point)), "train_seed": seed,
                **{key: row[key] for key in ("divergence", "estimator", "sigma_lo", "sigma_hi", "n", "note")},
                "bound": _FOR_MANY if row["estimator"].partition("@")[0] in _DV else row["bound"],
                **numbers.interval(row), **_beside(mine, row), **repeats.told(mine, row),
            })  # fmt: skip
    found = pd.DataFrame(table, columns=COLUMNS)
    floats = found.select_dtypes("float").columns
    return found.assign(**{c: found[c].map(lambda v: float(f"{v:.6g}")) for c in floats})


def _beside(mine: pd.DataFrame, row: dict[Any, Any]) -> dict[str, Any]:
    """What a row estimates, with its interval: the exact divergence, or the gain's own target."""
    if row["kind"] == "truth":
        return {"estimates": "itself"}
    gain = row["divergence"] == "score_error"
    wanted = f"{row['estimator']}_target" if gain else "exact"
    found = mine[(mine["estimator"] == wanted) & (mine["divergence"] == row["divergence"])]
    found = found[found["kind"].isin(("truth", "target"))]
    if found.empty:
        return {"estimates": "nothing known"}
    truth = numbers.interval(found.iloc[0].to_dict())
    told = {f"truth{'' if k == 'value' else '_' + k}": truth[k] for k in ("value", "lo", "hi", "status")}
    name = "exact difference of score errors" if gain else "exact divergence"
    return {"estimates": name, **relative.error(numbers.interval(row), truth), **told}


def to_markdown(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as Markdown."""
    return markdown.document(_title(table), _sheets(table, rows))


def to_latex(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as LaTeX, by booktabs."""
    return latex.document(_title(table), _sheets(table, rows))


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}: divergences"


def _sheets(table: pd.DataFrame, rows: pd.DataFrame) -> list[Sheet]:
    low = f"{table['sigma_lo'].min():g}"
    span = f"{low} to {table['sigma_hi'].max():g}"
    known = [d for d in _BOUNDS if (table["divergence"] == d).any()]
    pairs = [(d, e) for d in known for e in ("exact", *_BOUNDS[d])]
    bounds = _sheet(
        table, f"Divergence at σ = {low}, nats: exact, and lower bound by the grader", pairs,
        [f"NWJ: in expectation a lower bound for any number of points; here {_sizes(table)} that no net has seen. {MANY} {FOUND}",
         "Exact: log-densities of the sampler's flow at this σ, before its last step. Bounds: of its final samples, with noise of this σ "
         "added, so with that step's error in them; KL(q‖p) feels it most.",
         CAVEAT],
    )  # fmt: skip
    integral = _sheet(
        table, f"The sigma integral by the grader's gradient, σ {span}, nats: no bound",
        [(d, "integral") for d in NAMES if d != "score_error"],
        ["Each under the measure that keeps its weight bounded or lets it grow least, with the divergence at the upper end. Not a "
         f"bound: right only as far as the grader's gradient is. {FOUND}"],
    )  # fmt: skip
    errors = [("score_error", e) for e in ("score_error_main", "score_error_sampler")]
    errors += [
        ("score_error", e)
        for e in ("gain_guidance", "gain_guidance_target", "gain_grader", "gain_grader_target")
    ]
    gains = _sheet(
        _with_targets(table, rows), f"Score error and gains, σ {span}, nats", errors,
        ["Score error: of the main net and of the guided score, exact. Gain: how much of it a term removes, from real points "
         f"alone; a lower bound of the error, negative where the term harms. Exact: by the true score. {FOUND}"],
    )  # fmt: skip
    found = [
        bounds,
        relative.sheet(table),
        gains,
        integral,
        grader.recalibrated(rows),
        *repeats.sheets(table),
        grader.checks(rows),
    ]
    return [sheet for sheet in found if sheet.body]


def _sizes(table: pd.DataFrame) -> str:
    """`8,192 real points and samples (real against real: 3,072)`."""
    null = table["point"] == numbers.NULL
    few, many = (int(table.loc[m, "n"].min()) if m.any() else 0 for m in (null, ~null))
    if not few or not many or few == many:
        return f"at least {few or many:,} real points and samples"
    return f"at least {many:,} real points and samples (real against real: {few:,} a side)"


def _with_targets(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table and its gains' targets as rows of their own."""
    targets = rows[(rows["kind"] == "target")]
    made = [
        {
            "point": r["point"],
            "divergence": r["divergence"],
            "estimator": r["estimator"],
            **numbers.interval(r),
        }
        for r in targets.to_dict("records")
    ]
    return pd.concat([table, pd.DataFrame(made)], ignore_index=True) if made else table


def _sheet(table: pd.DataFrame, title: str, pairs: list[tuple[str, str]], notes: list[str]) -> Sheet:
    """Points down, estimates across."""
    body = []
    for point in dict.fromkeys(table["point"]):
        mine = table[table["point"] == point]
        cells = [mine[(mine["divergence"] == d) & (mine["estimator"] == e)] for d, e in pairs]
        body.append(
            [numbers.point_label(point), *(numbers.cell(c.iloc[0]) if len(c) else "–" for c in cells)]
        )
    header = ["", *(numbers.heading(d, e) for d, e in pairs)]
    return Sheet(title, header, body, notes, "l" + "r" * len(pairs))
