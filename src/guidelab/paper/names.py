# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""What readers see instead of the names in params.yaml."""

from collections.abc import Iterable

_LABELS = {
    "none": "no guidance",
    "truncation": "naive truncation",
    "cfg": "CFG",
    "cfg_interval": "CFG, interval",
    "autog": "autoguidance",
    "autog_xs": "guide: smaller only",
    "autog_t16": "guide: 1/16 of training",
    "autog_ema": "guide: longer EMA",
    "dropout": "dropout 5 %, guide 10 %",
    "input_noise": "input noise 10 %, guide 20 %",
    "mismatched": "dropout 5 %, guide noise 20 %",
    "dg": "discriminator (DG)",
    "dg_first": "DG, first stage",
    "dg_autog": "DG + autoguidance",
}

FULL_SCALE = "full"
FULL_SCALES = (FULL_SCALE, "paper")  # whose numbers may stand beside a paper's
SMOKE = "smoke"  # everything tiny, weights random: that it runs is all it shows


def label(variant: str) -> str:
    """A variant as printed; a variant this list does not know keeps its own name, underscores as spaces."""
    return _LABELS.get(variant, variant.replace("_", " "))


def ordered(variants: Iterable[object]) -> list[str]:
    """Each variant once, in the order of this list; those it does not know last, in the order given."""
    known = list(_LABELS)
    found = [str(v) for v in dict.fromkeys(variants)]
    return sorted(found, key=lambda v: known.index(v) if v in known else len(known))


def scale_name(scale: str) -> str:
    """`full`, or `scaled down (reduced)`: a smaller experiment is always named as such."""
    if scale == SMOKE:
        return "smoke test: random weights, no number here means anything"
    return scale if scale in FULL_SCALES else f"scaled down ({scale})"


def prefix(scale: str) -> str:
    """What goes before every label of a smoke test, so that a line taken out of its table still says what it is."""
    return "smoke: " if scale == SMOKE else ""


def split_point(point: str) -> tuple[str, float | None]:
    """`cfg/w4.00` -> ("cfg", 4.0); `none` -> ("none", None).

    Raises:
        ValueError: what follows the slash is not a weight.
    """
    variant, _, weight = point.partition("/")
    return variant, float(weight.removeprefix("w")) if weight else None


def point_label(point: str) -> str:
    """`cfg/w4.00` -> `CFG, w = 4`; a truncation's weight multiplies the score, so it is written x1.4."""
    variant, w = split_point(point)
    if w is None or variant == "none":
        return label(variant)
    return f"{label(variant)}, ×{w:g}" if variant == "truncation" else f"{label(variant)}, w = {w:g}"


def origin(info: dict[str, object]) -> str:
    """`toy2d, scaled down (reduced)`: the line every figure carries, from the job's `experiment` and `scale`."""
    return f"{info.get('experiment', 'experiment')}, {scale_name(str(info.get('scale', FULL_SCALE)))}"
