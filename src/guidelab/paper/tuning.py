"""How a variant's weight was selected: by a metric among several or not, and whether at the edge of the range."""

from collections.abc import Mapping

import pandas as pd

from guidelab.paper import reported

SMALLEST, LARGEST, ONLY = "the smallest tried", "the largest tried", "the only one tried"


def swept(selected: pd.DataFrame, variant: str, metric: str) -> bool:
    """Whether this metric chose the variant's weight among several."""
    mine = selected[(selected["variant"] == variant) & (selected["metric"] == metric)]
    return bool((mine["n_candidates"].astype(int) > 1).any())


def edge(
    measurements: pd.DataFrame,
    selected: pd.DataFrame,
    variant: str,
    metric: str,
    direction: str,
    mains: Mapping[str, str] | None = None,
) -> str:
    """SMALLEST or LARGEST where the weight that a metric chose has none tried to one side, else empty.

    No guidance counts as a weight tried where it was measured, the variant becomes it at its neutral weight, and the metric
    is worse there on the block that chose.

    Args:
        measurements: all rows, the choosing block too.
        selected: the chosen weights.
        variant: what was swept. metric: what chose.
        direction: `lower` or `higher`, which is better.
        mains: see `reported.baseline`.
    """
    if not swept(selected, variant, metric):
        return ""
    choice = selected[(selected["variant"] == variant) & (selected["metric"] == metric)].iloc[0]
    tried, w = reported.weights(measurements, variant), float(choice["w"])
    if w == tried[-1]:
        return LARGEST
    neutral = float(measurements.loc[measurements["variant"] == variant, "w_neutral"].iloc[0])
    if w != tried[0] or w == neutral:
        return ""
    base = reported.baseline(measurements, variant, mains)
    if base is None or neutral > w or not reported.starts_unguided(measurements, variant, mains):
        return SMALLEST
    rows = measurements[measurements["seed_block"] == choice["selected_on"]]
    sides = [
        reported.at_point(rows, *at, metric).set_index("train_seed")["value"] for at in (base, (variant, w))
    ]
    gap = float((sides[0] - sides[1]).mean())  # over common trainings; nan where there is none
    return "" if (gap > 0 if direction == "lower" else gap < 0) else SMALLEST
