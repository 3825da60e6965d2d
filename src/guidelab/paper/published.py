"""Published values beside ours: at full scale and equal n only, a smaller run is never in the paper's columns."""

from typing import Any

import pandas as pd

from guidelab.errors import UserError
from guidelab.paper import names, summary


def beside_published(
    table: pd.DataFrame, published: pd.DataFrame | None, spec: dict[str, Any]
) -> pd.DataFrame:
    """`table` with columns published, difference (ours minus published) and verdict.

    Args:
        table: rows of `tables.make_table`, scale still as spec["scale"] names it.
        published: columns experiment, row, weight, metric, value, n_generated; or None.
        spec: scale, and published_rows: point -> name of the published row.
    Raises:
        UserError: several published values answer to one of ours.
    """
    table = table.assign(published=float("nan"), difference=float("nan"), verdict="")
    wanted: dict[str, str] = spec.get("published_rows") or {}
    if published is None or not wanted:
        return table
    for index, row in enumerate(table.to_dict("records")):
        name = wanted.get(f"{row['variant']}/w{row['w']:.2f}")
        match = _match(published, row, name) if name else published.iloc[:0]
        if match.empty or row["status"] != summary.OK:
            continue
        verdict, value = _verdict(row, match.iloc[0].to_dict(), str(spec["scale"]))
        table.loc[table.index[index], "verdict"] = verdict
        if value is not None:
            table.loc[table.index[index], ["published", "difference"]] = [value, row["value"] - value]
    return table


def _match(published: pd.DataFrame, row: dict[Any, Any], name: str) -> pd.DataFrame:
    """The published rows for one of ours; a published weight must be ours, a row without weight fits any."""
    weight = pd.to_numeric(published["weight"], errors="coerce")
    match: pd.DataFrame = published[
        (published["experiment"] == row["experiment"])
        & (published["row"] == name)
        & (published["metric"] == row["metric"])
        & (weight.isna() | ((weight - row["w"]).abs() < 5e-3))
    ]
    if match["value"].nunique() > 1:
        raise UserError(
            f"published.csv: {len(match)} values of {row['metric']} for row {name!r}, weight {row['w']}: "
            f"{', '.join(map(str, match['value']))}; wanted one. Name another row in published_rows."
        )
    return match


def _verdict(row: dict[Any, Any], match: dict[Any, Any], scale: str) -> tuple[str, float | None]:
    """In words, and the published value when it may stand beside ours."""
    if scale != names.FULL_SCALE:
        return "not compared: scaled down", None
    if int(match["n_generated"]) != int(row["n_generated"]):
        return f"not compared: n {int(row['n_generated'])}, published {int(match['n_generated'])}", None
    value = float(match["value"])
    if pd.isna(row["lo"]):
        return "no interval", value
    return ("within" if row["lo"] <= value <= row["hi"] else "outside") + " our interval", value
