"""Hand-made measurements like ImageNet's: several nets, feature spaces and a published value for most points."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from guidelab.io import read_csv
from guidelab.paper.select import select

ROOT = Path(__file__).parents[2]
PUBLISHED = read_csv(ROOT / "workflow" / "resources" / "published.csv")
INFO = read_csv(ROOT / "workflow" / "resources" / "metrics.csv")
BLOCKS = ("select", "report1", "report2")
_MET = {  # metric -> value of no guidance, standard error, n_reference, reference_split, features
    "fid@adm": (9.62, 0.02, 0, "released adm_256", "inception"),
    "sfid@adm": (6.9, 0.03, 0, "released adm_256", "inception"),
    "inception_score@adm": (121.0, 0.6, 0, "none", "inception"),
    "precision@adm": (0.67, 0.002, 10_000, "adm", "inception"),
    "recall@adm": (0.67, 0.004, 10_000, "adm", "inception"),
    "fid@inception": (10.4, 0.02, 50_000, "reference", "inception"),
    "recall@inception": (0.64, 0.003, 50_000, "reference", "inception"),
    "fid@dinov2": (80.0, 0.2, 0, "released img256", "dinov2"),
}
_POINTS = {  # variant: method, ref, neutral, {w: (fid@adm, fid@dinov2)}
    "none": ("none", "", 1.0, {1.0: (9.60, 80.0)}),
    "cfg": ("reference", "null", 1.0, {1.25: (3.1, 60.0), 1.5: (2.28, 52.0), 2.0: (2.6, 44.0)}),
    "cfg_dg": ("reference+discriminator", "null+guide", 1.0, {1.5: (1.95, 50.0)}),
    "autog": ("reference", "weak", 1.0, {1.5: (2.9, 48.0), 2.0: (2.4, 41.0), 2.5: (2.7, 45.0)}),
    "adm": ("none", "", 1.0, {1.0: (10.9, 90.0)}),
    "cg": ("classifier", "noisy", 0.0, {1.0: (4.60, 70.0)}),
    "cg_dg": ("classifier+discriminator", "noisy+guide", 0.0, {1.0: (3.9, 66.0)}),
    "dropout": ("reference", "drop10", 1.0, {1.0: (20.0, 150.0), 2.0: (9.8, 90.0)}),
}  # fmt: skip
_DIT, _ADM = ("none", "cfg", "cfg_dg", "autog", "dropout"), ("adm", "cg", "cg_dg")
MAINS = dict.fromkeys(_DIT, "dit/dit") | dict.fromkeys(_ADM, "adm/adm")
MAP: dict[str, Any] = {
    "none/w1.00": ["DiT-XL/2"],
    "cfg/w1.50": ["DiT-XL/2 + CFG"],
    "cfg_dg/w1.50": ["DiT-XL/2 + CFG + DG"],
    "adm/w1.00": ["ADM"],
    "cg/w1.00": ["ADM + CG"],
    "cg_dg/w1.00": ["ADM + CG + DG (best FID)", "ADM + CG + DG (slides)"],
}
SPEC: dict[str, Any] = {
    "kind": "images", "experiment": "imagenet256", "scale": "full", "headline": [], "variants": list(_POINTS),
    "select_metric": ["fid@adm", "fid@dinov2"], "mains": MAINS, "published": MAP,
}  # fmt: skip


def imagenet_rows(scale: str = "full", experiment: str = "imagenet256", n: int = 50_000) -> pd.DataFrame:
    """Measurements of every point on three blocks; block b lies (b - 1) standard errors from the mean."""
    rows = [
        _row(
            (scale, experiment, variant, method, ref, neutral, n),
            (w, fid, fd, block, i - 1),
            metric,
        )
        for variant, (method, ref, neutral, points) in _POINTS.items()
        for w, (fid, fd) in points.items()
        for i, block in enumerate(BLOCKS)
        for metric in _MET
    ]
    return pd.DataFrame(rows)


def _row(about: tuple[Any, ...], at: tuple[Any, ...], metric: str) -> dict[str, Any]:
    scale, experiment, variant, method, ref, neutral, n = about
    w, fid, fd, block, place = at
    base, error, met, split, features = _MET[metric]
    value = {"fid@adm": fid, "fid@dinov2": fd}.get(metric, base * (fid / 9.6) ** 0.05)
    return {
        "experiment": experiment, "scale": scale, "dataset": "imagenet", "variant": variant, "method": method, "ref": ref,
        "w": w, "w_neutral": neutral, "w_effective": w, "sigma_lo": 0.0, "sigma_hi": np.inf, "sampler": "ddpm",
        "steps": 250, "nfe": 250, "dtype": "float32", "seed_block": block, "train_seed": 0, "n_generated": n,
        "n_reference": met, "reference_split": split, "features": features, "features_sha256": features * 2,
        "label_policy": "random", "metric": metric, "value": value + place * error, "std_error": error,
        "ess": np.nan, "note": "", "code": "0", "checkpoint_sha256": "0", "torch": "2.13.0", "device": "cpu",
    }  # fmt: skip


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """selected.csv: each metric that decides chooses a weight for every variant."""
    each = [select(rows, INFO, block="select", metrics=[m]) for m in SPEC["select_metric"]]
    return pd.concat(each, ignore_index=True)
