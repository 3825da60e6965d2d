"""Small hand-made measurements and arrays for the tests of tables, figures and findings."""

from typing import Any

import numpy as np
import pandas as pd

INFO = pd.DataFrame(
    [
        ("outliers_99", "outliers", "lower", "%", 1, "Share outside.", "quality"),
        ("recall", "recall", "higher", "", 3, "Reference covered.", "coverage"),
        ("kl", "KL(data‖model)", "lower", "nat", 2, "Mean log p/q.", "divergence"),
    ],
    columns=["metric", "label", "direction", "unit", "digits", "definition", "group"],
)
SPEC: dict[str, Any] = {"experiment": "toy2d", "scale": "reduced", "headline": ["none/w1.00", "autog/w3.00"]}
BLOCKS = ("select", "report1", "report2")


def row(variant: str, w: float, metric: str, value: float, **other: Any) -> dict[str, Any]:
    """One measured number; the columns under test go in `other`."""
    return {
        "experiment": "toy2d", "scale": "reduced", "variant": variant, "method": "" if variant == "none" else "reference",
        "ref": "weak", "w": w, "steps": 32, "sampler": "heun", "dtype": "float64",
        "w_neutral": 1.0, "seed_block": "report1", "train_seed": 0, "n_generated": 4096, "n_reference": 4096,
        "reference_split": "reference", "features": "coordinates", "features_sha256": "", "label_policy": "one class",
        "metric": metric, "value": value, "std_error": float("nan"), "note": "",
    } | other  # fmt: skip


def measured(points: dict[tuple[str, float], dict[str, list[float]]]) -> pd.DataFrame:
    """Rows on all three blocks for {(variant, w): {metric: one value for each training}}; blocks differ by +-0.001."""
    return pd.DataFrame(
        [
            row(variant, w, metric, value + shift, train_seed=seed, seed_block=block, std_error=0.004)
            for (variant, w), metrics in points.items()
            for metric, values in metrics.items()
            for seed, value in enumerate(values)
            for block, shift in zip(BLOCKS, (5.0, 0.001, -0.001), strict=True)
        ]
    )


def selected(*choices: tuple[str, float], by: str = "kl", of: int = 2) -> pd.DataFrame:
    """selected.csv for variants chosen at a weight on block `select`."""
    return pd.DataFrame(
        [("toy2d", v, by, w, "select", of, "2.00 3.00") for v, w in choices],
        columns=["experiment", "variant", "metric", "w", "selected_on", "n_candidates", "candidates"],
    )


def toy() -> pd.DataFrame:
    """Three trainings of no guidance and of autoguidance at two weights."""
    return measured(
        {
            ("none", 1.0): {
                "outliers_99": [0.10, 0.13, 0.16],
                "recall": [0.97, 0.96, 0.98],
                "kl": [0.2, 0.3, 0.4],
            },
            ("autog", 2.0): {
                "outliers_99": [0.08, 0.10, 0.13],
                "recall": [0.9, 0.9, 0.9],
                "kl": [0.4, 0.5, 0.6],
            },
            ("autog", 3.0): {
                "outliers_99": [0.06, 0.09, 0.10],
                "recall": [0.7, 0.8, 0.75],
                "kl": [0.9, 1.0, 1.1],
            },
        }
    )


def fig1_arrays(n: int = 50, side: int = 60) -> dict[str, np.ndarray]:
    """One round Gaussian for each class; half the samples of `cfg` far outside."""
    x = np.linspace(-2, 2, side)
    xx, yy = np.meshgrid(x, x)
    rng = np.random.default_rng(0)
    arrays = {"grid/x": x, "grid/y": x, "grid/log_p": 3 - 20 * (xx**2 + yy**2)}
    arrays["grid/log_p_other"] = 3 - 20 * ((xx + 1) ** 2 + yy**2)
    for name in ("truth", "none/w1.00", "cfg/w4.00"):
        points = 0.1 * rng.standard_normal((n, 2))
        points[: n // 2] += 1.5 if name.startswith("cfg") else 0.0
        arrays[f"samples/{name}"] = points.astype(np.float32)
        arrays[f"log_p/{name}"] = 3 - 20 * (points**2).sum(1)
    return arrays


def fig2_arrays(side: int = 20) -> dict[str, np.ndarray]:
    """Two shifted Gaussians in a window off the origin, and straight trajectories."""
    x, y = np.linspace(0.5, 1.1, side), np.linspace(0.8, 1.4, side)
    xx, yy = np.meshgrid(x, y)
    arrays = {"grid/x": x, "grid/y": y, "grid/log_p": 3 - 90 * ((xx - 0.8) ** 2 + (yy - 1.1) ** 2)}
    arrays["grid/log_p1"] = 7 - 30 * ((xx - 0.8) ** 2 + (yy - 1.1) ** 2)
    arrays["grid/log_p0"] = -2 - 10 * ((xx - 0.7) ** 2 + (yy - 1.0) ** 2)
    start = np.array([[0.6, 1.0], [0.9, 1.2]])
    arrays |= {
        "arrow/x": start[:, 0],
        "arrow/y": start[:, 1],
        "arrow/u": np.array([3.0, -1.0]),
        "arrow/v": np.zeros(2),
    }
    for name in ("none/w1.00", "cfg/w4.00"):
        arrays[f"track/{name}"] = np.linspace(1, 0, 5)[:, None, None] * np.ones((5, 3, 2)) * 0.2 + 0.9
    return arrays


def fig9_arrays(sigmas: list[float], side: int = 12) -> dict[str, np.ndarray]:
    """The main net narrower than both guides."""
    x, y = np.linspace(-1, 1, side), np.linspace(-0.5, 1.5, side + 3)
    xx, yy = np.meshgrid(x, y)
    arrays = {"grid/x": x, "grid/y": y}
    for sigma in sigmas:
        for name, width in (("log_p1", 1.0), ("log_p0_cfg", 2.0), ("log_p0_ag", 1.5)):
            arrays[f"{name}/{sigma:g}"] = 5 - (xx**2 + yy**2) / (width * (sigma + 0.1)) ** 2
    return arrays
