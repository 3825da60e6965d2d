"""Which weight a variant is reported at: chosen on one seed block, reported on the others."""

import math
from collections.abc import Sequence

import pandas as pd

COLUMNS = ["experiment", "variant", "metric", "w", "selected_on", "n_candidates", "candidates"]


def select(rows: pd.DataFrame, info: pd.DataFrame, *, block: str, metrics: Sequence[str]) -> pd.DataFrame:
    """One row for each variant: the weight with the best mean over trainings on the selecting block.

    Args:
        rows: measurements.
        info: `metric` and `direction` (`lower` or `higher` is better).
        block: the seed block that selects; no number of it is ever reported at the chosen weight.
        metrics: what decides, in order of preference: the first one measured for the variant.
    Returns:
        `experiment, variant, metric, w, selected_on, n_candidates, candidates`; a variant none of whose
        candidates has a finite value is left out.
    """
    direction = dict(zip(info["metric"], info["direction"], strict=True))
    chosen = []
    for (experiment, variant), group in rows[rows["seed_block"] == block].groupby(
        ["experiment", "variant"], sort=False
    ):
        for metric in metrics:
            values = group[group["metric"] == metric]
            mean = (
                values.assign(value=pd.to_numeric(values["value"], errors="coerce"))
                .groupby("w")["value"]
                .mean()
            )
            mean = mean[mean.map(math.isfinite)] if len(mean) else mean
            if len(mean):
                better = direction.get(
                    metric.partition("@")[0], "lower"
                )  # recall@lite0: the direction of recall
                best = mean.idxmin() if better == "lower" else mean.idxmax()
                names = " ".join(f"{w:.2f}" for w in mean.index)
                chosen.append((experiment, variant, metric, float(str(best)), block, len(mean), names))
                break
    return pd.DataFrame(chosen, columns=COLUMNS)


def flatten(
    rows: pd.DataFrame, chosen: pd.DataFrame, headline: Sequence[str], *, select_block: str
) -> dict[str, float]:
    """The flat metrics DVC compares: means over trainings and report blocks, names without dots.

    Metrics half of whose numbers are flagged `not estimable` are left out, as they are from the table.
    Keys are `<variant>_<metric>` at the chosen weight, `<variant>_w140_<metric>` at a headline weight, and
    `<variant>_w` for the chosen weight itself.
    """
    report = rows[rows["seed_block"] != select_block]
    notes = report["note"].fillna("").astype(str) if "note" in report else pd.Series("", index=report.index)
    flagged = notes.str.startswith("not estimable")
    numbers = report.assign(value=pd.to_numeric(report["value"], errors="coerce"), flagged=flagged)
    grouped = numbers.groupby(["variant", "w", "metric"])
    means = grouped["value"].mean().where(grouped["flagged"].mean() < 0.5)
    flat: dict[str, float] = {}
    for variant, w in zip(chosen["variant"], chosen["w"], strict=True):
        flat[f"{variant}_w"] = float(w)
        flat |= {f"{variant}_{m}": float(v) for m, v in means.loc[variant, w].items() if math.isfinite(v)}
    for point in headline:
        variant, _, w = point.partition("/w")
        if (variant, float(w)) in means.groupby(level=["variant", "w"]).size().index:
            label = f"{variant}_w{round(100 * float(w)):03d}"
            flat |= {
                f"{label}_{m}": float(v) for m, v in means.loc[variant, float(w)].items() if math.isfinite(v)
            }
    return {key: round(v, 6) for key, v in flat.items()}
