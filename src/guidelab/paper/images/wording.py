"""What readers see instead of names: variants of image experiments, metrics qualified by a feature space."""

import re
from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from guidelab.paper import checks, names

METHODS, GUIDES, DEGRADED = "Methods", "Choice of the weak model", "Degraded main model"
TRAINED, AVERAGED = "Training of the discriminator", "Length of the average (EMA)"
SECTIONS = (METHODS, GUIDES, DEGRADED, TRAINED, AVERAGED)

_LABELS = {  # where the words of the 2D experiment are not general enough; the order is that of the tables
    "validation": "validation images",
    "none": "no guidance",
    "adm": "ADM, no guidance",
    "dit": "DiT, no guidance",
    "cfg": "CFG",
    "cfg_interval": "CFG, interval",
    "interval": "CFG, interval",
    "cfg_schedule": "CFG, the schedule of CFG + DG",
    "cfg_apg": "CFG, projected (APG)",
    "icg": "independent condition (ICG)",
    "cg": "classifier guidance (CG)",
    "autog": "autoguidance",
    "dg": "discriminator (DG)",
    "dg_both": "DG, both stages",
    "dg_first": "DG, first stage",
    "dg_frozen": "DG, frozen classifier",
    "dg_boost": "DG, boosted",
    "dg_autog": "DG + autoguidance",
    "dg_cfg": "DG + CFG",
    "cfg_autog": "CFG + autoguidance",
    "cg_dg": "CG + DG",
    "cfg_dg": "CFG + DG",
    "cg_autog": "CG + autoguidance",
    "autog_t4": "guide: 1/4 of training",
    "autog_t16": "guide: 1/16 of training",
    "autog_xs": "guide: smaller",
    "autog_xs_t8": "guide: smaller, 1/8",
    "autog_xs_t16": "guide: smaller, 1/16",
    "autog_ema": "guide: other EMA",
    "autog_drop": "guide: trained with dropout",
    "same_ema": "guide: same EMA",
    "training": "guide: less training only",
    "capacity": "guide: smaller only",
    "dropout": "dropout in both",
    "input_noise": "input noise in both",
    "mismatched": "dropout, guide input noise",
    "drop5": "dropout 5 %, no guidance",
    "drop10": "dropout 10 %, no guidance",
    "noise10": "input noise 10 %, no guidance",
    "noise20": "input noise 20 %, no guidance",
}
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
_Words = Callable[[re.Match[str], Callable[[str], str]], str]
_PATTERNS: tuple[
    tuple[re.Pattern[str], _Words], ...
] = (  # first that fits; groups are a base variant or a number
    (re.compile(r"(.+)_s(\d+)$"), lambda m, of: f"{of(m[1])}, {m[2]} steps"),
    (re.compile(r"(main|guide)_e(?:ma)?(\d+)$"), lambda m, of: f"{m[1]}'s EMA 0.{m[2]}"),
    (re.compile(r"dg_it(\d+)$"), lambda m, of: f"DG, {int(m[1]):,} iterations"),
    (re.compile(r"(.+)_fd$"), lambda m, of: f"{of(m[1])} (tuned for FD)"),
    (re.compile(r"(.+)_u(_both)?$"), lambda m, of: f"{of(m[1] + (m[2] or ''))}, unconditional"),
    (re.compile(r"(.+)_c$"), lambda m, of: f"{of(m[1])}, conditional"),
    (re.compile(r"xxl$"), lambda m, of: "XXL: no guidance"),
    (re.compile(r"uncond$"), lambda m, of: "unconditional: no guidance"),
    (
        re.compile(r"(xxl|uncond)_(.+)$"),
        lambda m, of: f"{'XXL' if m[1] == 'xxl' else 'unconditional'}: {of(m[2])}",
    ),
    (re.compile(r"guide_t(\d+)$"), lambda m, of: f"guide: 1/{m[1]} of training"),
    (re.compile(r"guide_(x*s|m|l)$"), lambda m, of: f"guide: {m[1].upper()}"),
)
_TUNED = re.compile(r"_(fd|u|c|u_both)$")  # for another metric, of another kind of net: the same method


def label(variant: str, given: Mapping[str, str] | None = None) -> str:
    """A variant as printed; `given` (of the job) goes before our own words, unknown names keep theirs."""
    if given and variant in given:
        return given[variant]
    if variant in _LABELS:
        return _LABELS[variant]
    for pattern, words in _PATTERNS:
        match = pattern.match(variant)
        if match:
            return words(match, lambda v: label(v, given))
    return names.label(variant)


def point(variant: str, w: float, given: Mapping[str, str] | None = None) -> str:
    """`CFG, w = 2`; no guidance has no weight."""
    return label(variant, given) if variant == "none" else f"{label(variant, given)}, w = {w:g}"


def kin(variants: "pd.Series[str]", start: str) -> "pd.Series[bool]":
    """Which variants try guides of one method: those whose name starts so; for autoguidance, other averages of its guide too."""
    named = variants.str.startswith(start)
    return named | variants.str.match(r"guide_e\d+$") if start == "autog" else named


def section(variant: str) -> str:
    """The part of the table a variant stands in (step counts are told from the rows, not from the name)."""
    name = _TUNED.sub("", variant)
    if re.match(r"(main|guide)_e(ma)?\d+$", name):
        return AVERAGED
    if re.match(r"dg_it\d+$", name):
        return TRAINED
    if re.match(r"(dropout|input_noise|mismatched|drop\d+|noise\d+)$", name):
        return DEGRADED
    guides = name.startswith(("autog_", "guide_")) or name in ("same_ema", "training", "capacity")
    return GUIDES if guides else METHODS


def suffix(variant: str) -> str:
    """`_fd`, `_u` or `_c`, of a method tuned for another metric or of another kind of net; else empty."""
    found = _TUNED.search(variant)
    return f"_{found[1].removesuffix('_both')}" if found else ""


def ordered(variants: Iterable[object]) -> list[str]:
    """Each variant once, in the order of our list; those it does not know last, in the order given."""
    known = {name: i for i, name in enumerate(_LABELS)}
    found = [str(v) for v in dict.fromkeys(variants)]
    return sorted(found, key=lambda v: known.get(v, known.get(_TUNED.sub("", v), len(known))))


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
