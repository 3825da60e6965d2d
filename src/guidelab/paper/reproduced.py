"""Whether one of our numbers reproduces a published one.

A difference |ours - published| up to max(2 sd, 1.3 % of the published value) is `reproduced`, up to twice that `close`,
beyond it `not`; sd is the standard deviation over our blocks of seeds and trainings. 1.3 % is the size below which
retraining alone moves FID (arXiv:2606.20536). Where protocols differ there is no difference, only the reason.

A published minimum of three evaluations is compared with the minimum of our three blocks, everything else with our mean.
Values that are conflicting, digitised, assigned by us or of an unstated method are listed and are no targets.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from guidelab.paper import metric_names, reported, summary

MIN_OF_3 = "min_of_3"
GAP = 0.013  # of the published value; see the module
REPRODUCED, CLOSE, NOT = "reproduced", "close", "not"
NOT_TARGET, NOT_COMPARABLE = "not a target", "not comparable"
RELEASED = "released "  # the name of published statistics as reference in measured rows
EVALUATOR_REAL = 10_000  # real images that precision and recall are computed with in ADM's evaluator
_OTHER_FEATURES = ("lite0", "classifier")  # of our own experiments: no paper measures in them


def judged(one: Mapping[str, Any], ours: Mapping[Any, Any], measurements: pd.DataFrame) -> dict[str, object]:
    """What is compared with a published number, the difference, how large it may be, and the verdict.

    Args:
        one: a row of published.csv.
        ours: one number of our table.
        measurements: all rows, the selecting block too.
    """
    found = {str(key): value for key, value in ours.items()}
    if ours["status"] != summary.OK:
        return found | {"published_verdict": str(ours["status"])}
    at = (str(ours["variant"]), float(ours["w"]), str(ours["metric"]))
    least, blocks = summary.lowest(measurements, *at)
    as_minimum = one["protocol"] == MIN_OF_3
    value = least if as_minimum else float(ours["value"])
    found |= {"compared": value, "compared_as": f"min of {blocks}" if as_minimum else "mean"}
    reason = no_target(one) or _incomparable(one, ours, blocks)
    if reason:
        return found | {"published_verdict": reason}
    target = float(one["value"])
    sd = _sd(reported.at_point(measurements, *at))
    allowed = max(GAP * abs(target), 0.0 if math.isnan(sd) else 2 * sd)
    return found | {
        "published_difference": value - target, "allowed": allowed, "published_verdict": verdict(value - target, allowed),
    }  # fmt: skip


def verdict(difference: float, allowed: float) -> str:
    """`reproduced` up to what is allowed, `close` up to twice that, else `not`."""
    if abs(difference) <= allowed:
        return REPRODUCED
    return CLOSE if abs(difference) <= 2 * allowed else NOT


def no_target(one: Mapping[str, Any]) -> str:
    """Why a published number is not one to reproduce; empty where it is."""
    if one["status"] != "verified":
        return f"{NOT_TARGET}: {one['status']}"
    return "" if one["target"] == "yes" else f"{NOT_TARGET}: {one['note'] or 'marked so'}"


def stands_for(ours: str, theirs: str) -> bool:
    """Whether one of our metrics measures a published one: fid@dinov2 is their fd_dinov2."""
    space = metric_names.features(ours)
    if theirs in ("fid", "fd_dinov2") and metric_names.base(ours) == "fid":
        return space not in _OTHER_FEATURES and metric_names.of_dinov2(space) == (theirs == "fd_dinov2")
    return metric_names.base(ours) == theirs


def _incomparable(one: Mapping[str, Any], ours: Mapping[Any, Any], blocks: int) -> str:
    """Why ours is no measurement of the same thing; empty where it is."""
    n, theirs = int(ours["n_generated"]), int(float(one["n_generated"]))
    split, metric = str(ours["reference_split"]), metric_names.base(str(ours["metric"]))
    reason = ""
    if n != theirs:
        reason = f"n {n:,}, published {theirs:,}"
    elif one["protocol"] == MIN_OF_3 and blocks != 3:
        reason = f"minimum of {blocks}, published of 3"
    elif metric == "fid" and not split.startswith(RELEASED):
        reason = f"reference {split}, published against released statistics"
    elif metric in ("precision", "recall") and int(ours["n_reference"]) != EVALUATOR_REAL:
        reason = f"{int(ours['n_reference']):,} real images, published against {EVALUATOR_REAL:,}"
    return f"{NOT_COMPARABLE}: {reason}" if reason else ""


def _sd(at: pd.DataFrame) -> float:
    """Standard deviation over blocks and trainings; of one number its standard error; nan without either."""
    values = at["value"].to_numpy(np.float64)
    if len(values) > 1:
        return float(values.std(ddof=1))
    return float(at["std_error"].iloc[0]) if len(values) else math.nan
