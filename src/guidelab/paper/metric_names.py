"""Metrics qualified by a feature space, `fid@lite0`: their parts, and their rows of metrics.csv."""

from collections.abc import Iterable

import pandas as pd

from guidelab.paper import checks

_FEATURES = {
    "lite0": "EfficientNet-Lite0 features (trained on ImageNet)",
    "classifier": "classifier features (trained on this dataset's labels)",
    "inception": "Inception features",
    "adm": "Inception features, ADM's evaluator (published reference)",
    "edm": "Inception features, EDM's published reference",
    "paper": "Inception features, the paper's published reference",
    "dinov2": "DINOv2 features",
}
_SHORT = {
    "lite0": "Lite0",
    "classifier": "classifier",
    "inception": "Inception",
    "adm": "Inception (ADM)",
    "edm": "Inception (EDM)",
    "paper": "Inception (paper)",
    "dinov2": "DINOv2",
}


def base(metric: str) -> str:
    """`fid@lite0` -> `fid`."""
    return metric.partition("@")[0]


def features(metric: str) -> str:
    """`fid@lite0` -> `lite0`; empty for a metric without a feature space."""
    return metric.partition("@")[2]


def of_dinov2(space: str) -> bool:
    """Whether a space is of DINOv2's features, in which the Fréchet distance has a name of its own."""
    return "dinov2" in space


def features_label(name: str) -> str:
    """A feature space in words, with what it was trained on: that decides what it sees."""
    return _FEATURES.get(name, f"{name} features")


def features_short(name: str) -> str:
    """A feature space in a heading."""
    return _SHORT.get(name, name)


def spaces(metrics: Iterable[object]) -> list[str]:
    """The feature spaces of some metrics, each once, in the order given."""
    return [f for f in dict.fromkeys(features(str(m)) for m in metrics) if f]


def describe(info: pd.DataFrame, metrics: Iterable[object]) -> pd.DataFrame:
    """metrics.csv for qualified names: one row for each of `metrics`, indexed by it, with its space in `label`.

    Raises:
        UserError: the part before `@` has no row in metrics.csv.
    """
    checks.require_columns(info, checks.METRICS, "workflow/resources/metrics.csv")
    wanted = [str(m) for m in dict.fromkeys(metrics)]
    checks.known_metrics([base(m) for m in wanted], info)
    by_name = info.set_index("metric")
    rows = []
    for metric in wanted:
        alike = base(metric) == "fid" and of_dinov2(features(metric)) and "fd_dinov2" in by_name.index
        row = by_name.loc["fd_dinov2" if alike else base(metric)].to_dict()
        short = features_short(features(metric))
        rows.append(
            row
            | {"metric": metric, "name": row["label"], "label": f"{row['label']}, {short}".removesuffix(", ")}
        )
    return pd.DataFrame(rows).set_index("metric", drop=False)
