"""The table of divergences: every estimate beside what it estimates, and how often its interval holds it."""

from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, names
from guidelab.paper.sigma import numbers, relative, repeats
from guidelab.paper.sigma.sheets import sheets

COLUMNS = [
    "experiment", "scale", "point", "label", "train_seed", "divergence", "estimator", "sigma_lo", "sigma_hi", "n",
    "bound", "value", "lo", "hi", "status", "estimates", "truth", "truth_lo", "truth_hi", "truth_status",
    "relative_error", "relative_lo", "relative_hi", *repeats.COLUMNS, "note",
]  # fmt: skip
_DV, _FOR_MANY = ("dv", "dv_raw"), "for many points"  # Donsker–Varadhan's property


def make_table(rows: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """One row for each point, divergence and estimator, columns COLUMNS.

    Args:
        rows: of `guidelab diverge`, all points of one experiment.
        spec: experiment and scale.
    """
    table = []
    for (point, seed), mine in rows.groupby(["point", "train_seed"], sort=False):
        kept = mine[mine["kind"].isin(numbers.TOTALS) & ~mine["estimator"].str.endswith("_target")]
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
    return markdown.document(_title(table), sheets(table, rows))


def to_latex(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as LaTeX, by booktabs."""
    return latex.document(_title(table), sheets(table, rows))


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}: divergences"
