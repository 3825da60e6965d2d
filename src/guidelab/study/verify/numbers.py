"""Compare measured numbers with torch-fidelity's, under our settings and under its defaults, and explain differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from guidelab.errors import UserError
from guidelab.metrics.fidelity import Settings, fidelity
from guidelab.metrics.images import SPLIT, equal_subset
from guidelab.plan.plan import Plan
from guidelab.study.verify.cases import Case
from guidelab.study.verify.sides import Sides

AGREE = 0.1  # standard errors: far below what sampling leaves open
AGREE_SUBSETS = 1.0  # of KID over random subsets, which have noise of their own
ROUNDING = 1e-6  # of the number
SUBSETS = 20
KID_ROWS = 5000  # of a side in one kernel matrix: three of these in float64 take 0.6 GB
DEFAULTS = Settings()
LEAST = DEFAULTS.splits  # images: fewer leave parts of its Inception score empty


@dataclass(frozen=True)
class Verified:
    """One row a number, and what holds for all rows of a feature space."""

    table: pd.DataFrame
    notes: list[str]


def verified(plan: Plan, name: str, found: Sequence[Case]) -> Verified:
    """Each measured number of some cases with torch-fidelity's, under our settings and under its defaults.

    Raises:
        UserError: images, weights or measured rows that do not fit each other.
    """
    rows: list[dict[str, Any]] = []
    with tqdm(total=0, desc=name, unit="image", mininterval=1.0, dynamic_ncols=True) as bar:
        sides = Sides(plan, name, bar)
        for case in found:
            rows += _rows(case, sides)
    spaces = {case.space: case for case in found}
    return Verified(pd.DataFrame(rows), [_note(case, sides) for case in spaces.values()])


def _rows(case: Case, sides: Sides) -> list[dict[str, Any]]:
    extractor = sides.extractor(case.options["of"], case.options["reference"])
    for row in case.rows.values():
        if row.features_sha256 != extractor.sha256:
            raise UserError(
                f"{case.measure.outputs[0]}: {row.metric} is of features with weights {row.features_sha256[:12]}, these are "
                f"{extractor.sha256[:12]}. Delete the file and run again."
            )
    point = f"{case.run.point} {case.space}"
    sides.bar.set_postfix_str(point)
    generated, logits = sides.generated(case, "inception_score" in case.rows)
    real = sides.real(case)
    if len(generated) < LEAST:
        raise UserError(
            f"{case.run.point}, block {case.block}: holds {len(generated)} images, wanted at least {LEAST}"
        )
    sides.bar.set_postfix_str(f"{point}: numbers")
    compared = equal_subset(real, len(generated), case.first) if case.options["counts"] == "equal" else real
    ours = _settings(case, len(generated), len(compared))
    apart = [metric for metric in case.rows if metric != "fid"]
    same = fidelity(apart, generated=generated, reference=compared, logits=logits, settings=ours)
    default = fidelity(list(case.rows), generated=generated, reference=real, logits=logits, settings=DEFAULTS)
    if "fid" in case.rows:
        same |= fidelity(["fid"], generated=generated, reference=real, settings=ours)
    return [
        _row(case, row, same[metric], default[metric], len(real))
        | _agreement(row, same[metric], ours if metric == "kid" else None)
        | {"why": _why(case, metric, ours, len(real), generated.shape[1])}
        for metric, row in case.rows.items()
    ]


def _settings(case: Case, n: int, m: int) -> Settings:
    """Those of the measured rows; KID of all pairs where both sides have as many images, and few enough."""
    parts = max(1, n // SPLIT) if case.options["counts"] == "all" else 1
    subset = min(n, m, KID_ROWS)
    exact = n == m == subset
    ours = replace(
        DEFAULTS, dtype=torch.float64, neighbours=case.options["neighbours"], splits=parts, shuffle=False
    )
    return replace(ours, kid_subsets=1 if exact else SUBSETS, kid_subset=subset)


def _row(case: Case, row: Any, same: float, default: float, real: int) -> dict[str, Any]:
    return {
        "point": case.run.point, "train_seed": case.seed, "seed_block": case.block, "metric": row.metric,
        "ours": row.value, "std_error": row.std_error, "n_generated": row.n_generated, "n_reference": row.n_reference,
        "torch_fidelity": same, "difference": same - row.value,
        "torch_fidelity_default": default, "n_reference_default": 0 if row.n_reference == 0 else real,
    }  # fmt: skip


def _agreement(row: Any, theirs: float, kid: Settings | None) -> dict[str, Any]:
    """Whether a number is the measured one, but for rounding, with the pairs of KID and the standard errors allowed for them."""
    exact = kid is None or kid.kid_subsets == 1
    subsets = "" if kid is None else f"{kid.kid_subsets} random subsets of {kid.kid_subset} images a side"
    errors = AGREE if exact else AGREE_SUBSETS
    allowed = max(errors * float(row.std_error), ROUNDING * abs(row.value))
    return {
        "kid_pairs": "all pairs at once" if kid is not None and exact else subsets,
        "allowed_std_errors": errors, "agrees": bool(abs(theirs - row.value) <= allowed),
    }  # fmt: skip


def _why(case: Case, metric: str, ours: Settings, real: int, width: int) -> str:
    """Why its default differs from ours, from both settings."""
    row = case.rows[metric]
    if metric == "fid":
        singular = (
            f"; fewer images than features ({width}): roots of eigenvalues that are zero but for rounding"
        )
        return f"means in float32, ours float64{singular if row.n_generated <= width else ''}"
    if metric == "kid":
        rows = min(DEFAULTS.kid_subset, row.n_generated, real)
        all_pairs = f"ours all {row.n_generated} x {row.n_reference} pairs"
        return f"{DEFAULTS.kid_subsets} random subsets of {rows} of {real} real images, {all_pairs}"
    if metric == "inception_score":
        return f"{DEFAULTS.splits} parts in random order, ours {ours.splits} in the order of the seeds"
    causes = []
    if ours.neighbours != DEFAULTS.neighbours:
        causes.append(f"k = {DEFAULTS.neighbours}, ours {ours.neighbours}")
    if real != row.n_reference:
        causes.append(f"{real} real images, ours {row.n_reference}")
    return "; ".join(causes) or "distances in float32"


def _note(case: Case, sides: Sides) -> str:
    """What holds for all rows of a space: features, weights, resize, reference."""
    of, fold = case.options["of"], case.options["reference"]
    extractor = sides.extractor(of, fold)
    options = sides.plan.job("extract", sides.name, of, f"data/{fold}").spec["extractor"]
    shown = " ".join(f"{key} {value}" for key, value in options.items() if key in ("size_px", "model"))
    recorded = sides.largest.get(of)
    apart = "" if recorded is None else f", at most {recorded:.2g} from the recorded features"
    return (
        f"{case.space}: features of {options['name']} {shown}".rstrip()
        + f" (weights {extractor.sha256[:12]}) in every column, not of torch-fidelity's own Inception{apart}. Its loop gives them "
        f"pixels as stored, so the resize is the extractor's. Reference: fold {fold}."
    )
