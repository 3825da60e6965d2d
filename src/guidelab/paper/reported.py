"""Measured rows that may be printed together: those of the report blocks, a point's, and no guidance of the same net."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from guidelab.errors import UserError, closest
from guidelab.paper import checks, joint, names

# What must be equal, besides checks.COMPARABLE, wherever numbers stand in one column.
SAMPLED = ("steps", "sampler", "dtype")


def rows(
    measurements: pd.DataFrame, selected: pd.DataFrame, report_blocks: list[str] | None = None
) -> pd.DataFrame:
    """The rows that may be printed, without the blocks that selected weights: checked to be one scale, one n, features and
    reference for a metric, one step count for a variant and one sampler for a step count. With the column `joint.COMMON`.

    Raises:
        UserError: rows that may not be averaged or compared; see `checks`.
    """
    checks.require_columns(measurements, [*checks.MEASUREMENTS, *SAMPLED], "measurements")
    checks.require_columns(selected, checks.SELECTED, "selected")
    checks.one_scale(measurements)
    checks.no_duplicates(measurements)
    step_counts(measurements)
    blocks = checks.honest_blocks(measurements, selected, report_blocks)
    rows = measurements.assign(**{joint.COMMON: joint.common(measurements)})
    rows = rows[rows["seed_block"].isin(blocks)]
    checks.comparable(rows)
    checks.same_blocks(rows)
    for steps, part in rows.groupby("steps", sort=False):
        same(part, SAMPLED, f"rows with {steps} steps")
    return rows


def sampled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of samples: without those of real examples in their place, for which no net was called."""
    return rows[rows["nfe"] != 0] if "nfe" in rows else rows


def at_point(rows: pd.DataFrame, variant: str, w: float, metric: str | None = None) -> pd.DataFrame:
    """The rows of one point, of one metric if named. Weights are compared to the two digits paths carry."""
    mask = (rows["variant"] == variant) & ((rows["w"] - w).abs() < 5e-3)
    return rows[mask & (rows["metric"] == metric)] if metric is not None else rows[mask]


def weights(rows: pd.DataFrame, variant: str) -> list[float]:
    """The weights a variant has rows at, ascending."""
    return sorted(float(w) for w in rows.loc[rows["variant"] == variant, "w"].unique())


def step_counts(measurements: pd.DataFrame) -> dict[str, int]:
    """Variant to its number of sampler steps.

    Raises:
        UserError: several step counts under one variant.
    """
    counts = measurements.groupby("variant", sort=False)["steps"].unique()
    for variant, steps in counts.items():
        if len(steps) > 1:
            raise UserError(
                f"measurements: variant {variant} has steps {', '.join(str(s) for s in sorted(steps))}; wanted one "
                "step count for a variant. Measure each step count as a variant of its own."
            )
    return {str(variant): int(steps[0]) for variant, steps in counts.items()}


def main_steps(measurements: pd.DataFrame) -> int:
    """The number of sampler steps of no guidance, which the main part of the table is made with.

    Raises:
        UserError: no row of `none`, or several step counts under one variant.
    """
    counts = step_counts(measurements)
    if "none" in counts:
        return counts["none"]
    alone = [
        v for v in unguided(measurements) if names.section(v) == names.METHODS and not re.search(r"_s\d+$", v)
    ]
    if not alone:
        raise UserError(
            f"measurements: no rows of variant none (there are {', '.join(counts)}); wanted it, as "
            "every method is compared with no guidance. Add it to the experiment's variants."
        )
    return counts[alone[0]]


def unguided(rows: pd.DataFrame) -> list[str]:
    """The variants without guidance, in the order of the rows."""
    return [str(v) for v in rows.loc[rows["method"].astype(str).isin(["", "none"]), "variant"].unique()]


def same(rows: pd.DataFrame, columns: Iterable[str], where: str) -> None:
    """Refuse rows that differ in any of these columns.

    Raises:
        UserError: names the column and which variant has which value.
    """
    for column in columns:
        if rows[column].nunique() > 1:
            who = rows.groupby(column, sort=False)["variant"].unique()
            given = "; ".join(f"{value} in {', '.join(map(str, v))}" for value, v in who.items())
            raise UserError(
                f"{where}: {column} differs ({given}); wanted one {column} for all numbers that are compared. "
                "Measure them alike, or show them apart."
            )


def baseline(
    rows: pd.DataFrame, variant: str, mains: Mapping[str, str] | None = None
) -> tuple[str, float] | None:
    """No guidance at the variant's own number of steps, else None: step counts are never compared with each other.

    Args:
        rows: of the report.
        variant: what is compared with it.
        mains: variant to `net/model` of what it guides, where an experiment has several nets: no guidance is then that of
            the same net, tuned for the same metric if there is one, whatever its EMA.
    """
    mine = rows[rows["variant"] == variant]
    if mine.empty:
        return None
    at = rows[rows["steps"] == mine["steps"].iloc[0]] if "steps" in rows else rows
    found = [str(v) for v in at["variant"].unique() if v == "none" or str(v).startswith("none_s")]
    if mains:
        alike = [
            v for v in dict.fromkeys([*found, *unguided(at)]) if _net(mains, v) == _net(mains, variant) != ""
        ]
        found = sorted(alike, key=lambda v: names.suffix(v) != names.suffix(variant))
    for name in found[:1]:
        return name, float(rows.loc[rows["variant"] == name, "w"].iloc[0])
    return None


def _net(mains: Mapping[str, str], variant: str) -> str:
    return mains.get(variant, "").partition("/")[0]


def starts_unguided(rows: pd.DataFrame, variant: str, mains: Mapping[str, str] | None = None) -> bool:
    """Whether the variant at its neutral weight is the main net without guidance, the point `none`.

    Not so for a sum of methods, of which one keeps its weight when the other is swept, nor for a damaged main net, nor
    (`mains`) for one with another EMA than the unguided point.
    """
    mine = rows[rows["variant"] == variant]
    whole = not mine["method"].astype(str).str.contains("+", regex=False).any()
    if mains:
        base = baseline(rows, variant, mains)
        whole = whole and base is not None and mains.get(base[0]) == mains.get(variant)
    return whole and names.section(variant) in (names.METHODS, names.GUIDES, names.TRAINED)


def choices(selected: pd.DataFrame, variant: str) -> dict[str, float]:
    """The chosen weight of a variant by each metric that chose; a variant with one weight has that one."""
    mine = selected[selected["variant"] == variant]
    return {str(m): float(w) for m, w in zip(mine["metric"], mine["w"], strict=True)}


def chosen(rows: pd.DataFrame, selected: pd.DataFrame, variant: str, metric: str) -> float | None:
    """The weight to report a variant at in one feature space: chosen by that metric, else by any, else its only one."""
    picked = choices(selected, variant)
    if picked:
        return picked.get(metric, next(iter(picked.values())))
    found = rows.loc[rows["variant"] == variant, "w"].unique()
    return float(found[0]) if len(found) == 1 else None


# ---- points that a figure's settings name ----------------------------------------------------------------------------


def point(text: str, figure: str) -> tuple[str, float]:
    """`autog/w2.00` -> (autog, 2.0); a point without a weight is at 1."""
    try:
        variant, w = names.split_point(text)
    except ValueError as error:
        raise UserError(
            f"figure {figure}: point {text!r} is no point; wanted VARIANT/wWEIGHT such as autog/w2.00. Mend settings.lines."
        ) from error
    return variant, 1.0 if w is None else w


def measured_at(rows: pd.DataFrame, point: tuple[str, float], figure: str) -> pd.DataFrame:
    """The rows of a point.

    Raises:
        UserError: none were measured; a line with a hole would look whole.
    """
    at = at_point(rows, *point)
    if at.empty:
        known = [f"{v}/w{w:.2f}" for v, w in rows[["variant", "w"]].drop_duplicates().itertuples(index=False)]
        given = f"{point[0]}/w{point[1]:.2f}"
        raise UserError(
            f"figure {figure}: point {given} was not measured{closest(given, known)}; wanted one of the {len(known)} points "
            "of measurements.csv. Add the weight to the variant, or take the point out of the figure's settings."
        )
    return at


def common_trainings(rows: pd.DataFrame, points: list[tuple[str, float]], figure: str) -> pd.DataFrame:
    """The rows of the trainings that every point has: else a line would mix what x does with luck in training.

    Raises:
        UserError: no training is common.
    """
    trained = [set(at_point(rows, *point)["train_seed"]) for point in points]
    common = set.intersection(*trained)
    if not common:
        raise UserError(
            f"figure {figure}: its {len(points)} points have no training in common; wanted at least one. Give the variants "
            "the same train_seeds."
        )
    return rows[rows["train_seed"].isin(common)]
