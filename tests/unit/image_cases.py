"""Hand-made measurements of an image experiment: the shape of its results, without an image."""

from typing import Any

import numpy as np
import pandas as pd

from guidelab.paper.select import select

BLOCKS = ("select", "report1", "report2")
METRICS = (
    "fid@lite0", "kid@lite0", "precision@lite0", "recall@lite0", "fid@classifier", "kid@classifier",
    "precision@classifier", "recall@classifier", "inception_score@classifier", "accuracy@classifier",
)  # fmt: skip
INFO = pd.DataFrame(
    [
        ("fid", "FID", "lower", "", 2, "Fréchet distance of features.", "quality"),
        ("kid", "KID", "lower", "", 4, "Kernel distance of features.", "quality"),
        ("precision", "precision", "higher", "", 3, "Samples near the reference.", "quality"),
        ("recall", "recall", "higher", "", 3, "Reference near samples.", "coverage"),
        ("inception_score", "inception score", "higher", "", 2, "Confident and varied classes.", "quality"),
        ("accuracy", "accuracy", "higher", "%", 1, "Samples of the class asked for.", "quality"),
    ],
    columns=["metric", "label", "direction", "unit", "digits", "definition", "group"],
)
SPEC: dict[str, Any] = {
    "kind": "images", "experiment": "fashion", "scale": "reduced", "headline": [],
    "select_metric": ["fid@lite0", "fid@classifier"],
}  # fmt: skip
CFG, AUTOG, DG, BOTH = (1.5, 2.0, 2.5, 3.0), (1.5, 2.0, 2.5, 3.0), (1.0, 2.0, 4.0), (1.5, 2.0, 2.5)
_BEST = {  # variant: method, ref, weights, neutral, (w of the best FID, FID there, recall there) in lite0, classifier
    "cfg": ("reference", "blind", CFG, 1.0, (2.0, 211, 0.449), (2.0, 1.41, 0.802)),
    "cfg_interval": ("reference", "blind", CFG, 1.0, (2.5, 205, 0.47), (2.5, 1.5, 0.81)),
    "cfg_apg": ("reference", "blind", CFG, 1.0, (2.5, 220, 0.46), (2.5, 1.6, 0.80)),
    "icg": ("independent", "", CFG, 1.0, (1.5, 300, 0.40), (1.5, 3.1, 0.79)),
    "cg": ("classifier", "noisy", DG, 0.0, (1.0, 330, 0.38), (2.0, 4.0, 0.78)),
    "autog": ("reference", "main_t8", AUTOG, 1.0, (2.0, 178, 0.558), (2.0, 2.58, 0.845)),
    "autog_t4": ("reference", "main_t4", AUTOG, 1.0, (2.5, 205, 0.55), (2.5, 3.25, 0.852)),
    "autog_t16": ("reference", "main_t16", AUTOG, 1.0, (1.5, 190, 0.54), (1.5, 2.9, 0.84)),
    "autog_xs": ("reference", "xs", AUTOG, 1.0, (1.5, 240, 0.50), (1.5, 3.6, 0.83)),
    "autog_xs_t16": ("reference", "xs_t16", AUTOG, 1.0, (1.5, 200, 0.53), (1.5, 2.6, 0.84)),
    "autog_ema": ("reference", "main_ema", AUTOG, 1.0, (2.5, 380, 0.36), (2.5, 7.0, 0.79)),
    "autog_drop": ("reference", "main_drop", AUTOG, 1.0, (1.5, 400, 0.33), (1.5, 7.6, 0.78)),
    "dg": ("discriminator", "dg", DG, 0.0, (2.0, 330, 0.40), (2.0, 5.0, 0.80)),
    "dg_autog": ("reference+discriminator", "main_t8+dg", BOTH, 1.0, (2.0, 165, 0.56), (2.0, 2.2, 0.85)),
    "dg_cfg": ("reference+discriminator", "blind+dg", BOTH, 1.0, (2.0, 200, 0.46), (2.0, 1.3, 0.81)),
    "dropout": ("reference", "drop10", (1.0, 1.5, 2.0), 1.0, (2.0, 430, 0.31), (2.0, 8.4, 0.77)),
    "mismatched": ("reference", "noisy20", (1.0, 1.5, 2.0), 1.0, (1.0, 520, 0.25), (1.0, 10.0, 0.70)),
}
_SINGLE = {  # one weight: FID in lite0 and classifier, recall in both, steps
    "none": (416, 8.02, 0.322, 0.780, 12, 1.0), "dg_first": (360, 6.0, 0.38, 0.79, 12, 2.0),
    "dg_it250": (390, 7.0, 0.34, 0.78, 12, 2.0), "dg_it500": (350, 5.6, 0.38, 0.79, 12, 2.0),
    "dg_it1000": (335, 5.1, 0.40, 0.80, 12, 2.0), "main_ema050": (440, 8.9, 0.31, 0.77, 12, 1.0),
    "main_ema150": (405, 7.6, 0.33, 0.78, 12, 1.0), "guide_ema050": (185, 2.7, 0.55, 0.84, 12, 2.0),
    "guide_ema150": (181, 2.6, 0.56, 0.845, 12, 2.0), "none_s6": (560, 11.5, 0.25, 0.74, 6, 1.0),
    "autog_s6": (470, 6.5, 0.40, 0.78, 6, 2.0), "none_s18": (400, 7.8, 0.33, 0.78, 18, 1.0),
    "autog_s18": (172, 2.5, 0.56, 0.85, 18, 2.0),
}  # fmt: skip


def images(seeds: int = 1, **replaced: Any) -> pd.DataFrame:
    """Measurements of all variants on three blocks; `replaced` gives other entries of _BEST, None to leave one out."""
    rng = np.random.default_rng(0)
    rows = []
    for variant, entry in ({**_BEST, **replaced}).items():
        if entry is None:
            continue
        method, ref, weights, neutral, *best = entry
        for w in weights:
            fids = [fid + 60 * (w - at) ** 2 * (fid / 200) ** 0.9 for at, fid, _ in best]
            recalls = [recall - 0.05 * abs(w - at) for at, _, recall in best]
            about = (variant, method, ref, w, neutral, 12)
            rows += _point(rng, about, (*fids, *recalls), seeds)
    for variant, (lite0, classifier, recall, recall_c, steps, w) in _SINGLE.items():
        method, ref = ("none", "") if variant.startswith(("none", "main")) else ("reference", "main_t8")
        rows += _point(
            rng, (variant, method, ref, w, 1.0, steps), (lite0, classifier, recall, recall_c), seeds
        )
    return pd.DataFrame(rows)


def _point(
    rng: np.random.Generator, about: tuple[Any, ...], best: tuple[float, ...], seeds: int
) -> list[Any]:
    """All numbers of one point; the noise of a block is partly shared by all variants."""
    variant, method, ref, w, neutral, steps = about
    fid, fid_c, recall, recall_c = best
    values = {
        "fid@lite0": (fid, 0.012 * fid + 1), "kid@lite0": (fid / 2000, 0.002), "recall@lite0": (recall, 0.012),
        "precision@lite0": (0.75 - fid / 1100, 0.012), "fid@classifier": (fid_c, 0.03 * fid_c + 0.05),
        "kid@classifier": (fid_c / 90, 0.003), "precision@classifier": (0.92 - fid_c / 200, 0.01),
        "recall@classifier": (recall_c, 0.01), "inception_score@classifier": (8 - fid_c / 10, 0.05),
        "accuracy@classifier": (0.93 - fid_c / 60, 0.008),
    }  # fmt: skip
    found = []
    for seed in range(seeds):
        for i, block in enumerate(BLOCKS):
            for metric, (value, error) in values.items():
                shared = 0.4 * (i - 1) + 0.3 * seed
                moved = value + error * (shared + 0.3 * float(rng.standard_normal()))
                found.append({
                    "experiment": "fashion", "scale": "reduced", "dataset": "fashion_mnist", "variant": variant,
                    "method": method, "ref": ref, "w": w, "w_neutral": neutral, "w_effective": w, "sigma_lo": 0.0,
                    "sigma_hi": 80.0, "sampler": "heun", "steps": steps, "nfe": 2 * steps - 1, "dtype": "float32",
                    "seed_block": block, "train_seed": seed, "n_generated": 1000, "n_reference": 5000,
                    "reference_split": "test", "features": metric.partition("@")[2],
                    "features_sha256": metric.partition("@")[2] * 2, "label_policy": "random", "metric": metric,
                    "value": moved, "std_error": error, "ess": float("nan"), "note": "", "code": "0+0",
                    "checkpoint_sha256": "0", "torch": "2.13.0", "device": "cpu",
                })  # fmt: skip
    return found


def chosen(rows: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """selected.csv: every metric chooses a weight for every variant."""
    each = [select(rows, INFO, block="select", metrics=[m]) for m in metrics or SPEC["select_metric"]]
    return pd.concat(each, ignore_index=True)


def grid_arrays(points: list[str], labels: bool = True, n: int = 40, side: int = 16) -> dict[str, np.ndarray]:
    """Discs whose size is the class and whose darkness is the method."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    cls = np.arange(n) % 10 if labels else np.full(n, -1)
    arrays: dict[str, np.ndarray] = {"seeds": np.arange(100000, 100000 + n), "labels": cls}
    for i, point in enumerate(points):
        radius = 2 + cls / 2 + np.random.default_rng(i).uniform(0, 0.6, n)
        discs = np.hypot(x, y)[None] < radius[:, None, None]
        arrays[f"images/{point}"] = (discs * (255 - 20 * i)).astype(np.uint8)[:, None]
    return arrays
