"""What a table or a curve refuses to print, each refusal with where, what was given, what was wanted, what to do."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from guidelab.errors import UserError, closest

# What must be equal in all rows of a column: a difference in any of these moves the metric by itself.
COMPARABLE = ("n_generated", "n_reference", "reference_split", "features", "features_sha256", "label_policy")
KEY = ["variant", "w", "train_seed", "seed_block", "metric"]
MEASUREMENTS = [
    "experiment", "scale", "variant", "method", "w", "w_neutral", "seed_block", "train_seed", "n_generated",
    "metric", "value", "std_error",
]  # fmt: skip
SELECTED = ["variant", "metric", "w", "selected_on", "n_candidates"]
METRICS = ["metric", "label", "direction", "unit", "digits", "definition"]


def require_columns(table: pd.DataFrame, columns: Iterable[str], where: str) -> None:
    """Refuse a table without these columns.

    Raises:
        UserError: names the missing columns.
    """
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise UserError(
            f"{where}: no column {', '.join(missing)} (it has {', '.join(map(str, table.columns))}); "
            f"wanted {', '.join(columns)}. Build it again."
        )


def known_metrics(measured: Iterable[str], info: pd.DataFrame) -> None:
    """Refuse a metric that workflow/resources/metrics.csv does not describe: it would be dropped by a merge.

    Raises:
        UserError: names the metric and the closest known one.
    """
    known = [str(m) for m in info["metric"]]
    for metric in dict.fromkeys(measured):
        if metric not in known:
            raise UserError(
                f"workflow/resources/metrics.csv: no metric {metric!r}{closest(metric, known)}; wanted a line for "
                "every measured metric. Add one with its label, direction, unit, digits and definition."
            )


def one_scale(rows: pd.DataFrame) -> None:
    """Refuse rows of several experiments or scales in one table.

    Raises:
        UserError: names what was mixed.
    """
    for column in ("experiment", "scale"):
        given = [str(v) for v in rows[column].unique()]
        if len(given) > 1:
            raise UserError(
                f"measurements: {column} {', '.join(given)} in one table; wanted one. Give the rows of one {column}."
            )


def no_duplicates(rows: pd.DataFrame) -> None:
    """Refuse two values of the same number: averaging them would hide which is right.

    Raises:
        UserError: names the first repeated key.
    """
    repeated = rows[rows.duplicated(KEY, keep=False)]
    if not repeated.empty:
        first = repeated.iloc[0]
        key = ", ".join(f"{k} {first[k]}" for k in KEY)
        raise UserError(
            f"measurements: {len(repeated)} rows share a key (first: {key}); wanted one value for each. "
            "Delete measurements.csv and the part files that overlap, then collect again."
        )


def comparable(rows: pd.DataFrame) -> None:
    """Refuse a column (one metric) whose rows differ in n, features, reference or label policy.

    Rows without a number are passed over: they are printed as such and compared with nothing.

    Raises:
        UserError: names the metric, the property, and which variant has which value.
    """
    for metric, column in rows[rows["value"].notna()].groupby("metric", sort=False):
        for name in [c for c in COMPARABLE if c in column.columns]:
            values = column[name].fillna("")
            if values.nunique() > 1:
                who = column.groupby(values, sort=False)["variant"].unique()
                given = "; ".join(f"{v!r} in {', '.join(map(str, variants))}" for v, variants in who.items())
                raise UserError(
                    f"measurements: column {metric}: {name} differs ({given}); wanted one {name} for all rows that "
                    "are compared. Measure them alike, or print them in tables of their own."
                )


def same_blocks(rows: pd.DataFrame) -> None:
    """Refuse a column in which some training of some point lacks a seed block that others have.

    Real images in the place of samples (no evaluations of a net) have one block: they are the same in every one.

    Raises:
        UserError: names the metric, the point and the missing block.
    """
    for metric, column in rows.groupby("metric", sort=False):
        wanted = set(column["seed_block"])
        for (variant, w, seed), part in column.groupby(["variant", "w", "train_seed"], sort=False):
            missing = wanted - set(part["seed_block"])
            real = "nfe" in part and (part["nfe"] == 0).all()
            if missing and not real:
                raise UserError(
                    f"measurements: column {metric}: {variant}/w{w:.2f}, training {seed}, has no rows on block "
                    f"{', '.join(sorted(missing))}; wanted the same blocks for all. Run its measure job again."
                )


def honest_blocks(
    rows: pd.DataFrame, selected: pd.DataFrame, report_blocks: Iterable[str] | None
) -> list[str]:
    """The blocks numbers are reported on: every measured block but the one that selects weights, whether or not it had to.

    A variant with one weight may have it from another experiment, which chose it on the samples of the same block.

    Raises:
        UserError: `report_blocks` names a block that selected a weight, or a chosen weight was measured on no
            other block.
    """
    selecting = {str(b) for b in selected["selected_on"]}
    measured = [str(b) for b in dict.fromkeys(rows["seed_block"])]
    if report_blocks is not None:
        wanted = list(report_blocks)
        both = [b for b in wanted if b in selecting]
        if both:
            raise UserError(
                f"table: report block {', '.join(both)} is the block on which weights were selected; wanted other "
                "blocks. Report on blocks that chose nothing (evaluate.select_block names the one that does)."
            )
        return wanted
    free = [b for b in measured if b not in selecting]
    for row in selected.itertuples():
        at = rows[(rows["variant"] == row.variant) & (rows["w"] == row.w)]
        if not at.empty and not set(at["seed_block"]) & set(free):
            raise UserError(
                f"table: {row.variant}/w{row.w:.2f} was selected on block {row.selected_on} and measured on no other "
                f"({', '.join(dict.fromkeys(map(str, at['seed_block'])))}); wanted at least one report block. "
                "Add a block to evaluate.blocks and measure again."
            )
    return free


def same_experiment(measurements: pd.DataFrame, spec: Mapping[str, Any]) -> None:
    """Refuse rows of another experiment or scale than the one whose table is printed.

    Raises:
        UserError: names what was given and what was wanted.
    """
    for key in ("experiment", "scale"):
        given = {str(v) for v in measurements[key]} - {str(spec[key])}
        if given:
            raise UserError(
                f"table of {spec['experiment']} ({spec['scale']}): rows of {key} {', '.join(sorted(given))} given; "
                f"wanted {spec[key]} only. Collect the measurements of {spec['experiment']} again."
            )
