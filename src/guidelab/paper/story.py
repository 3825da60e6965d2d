"""What these seeds show, next to what the paper's pictures suggest: sentences made from the numbers.

The paper's side of each comparison is fixed text; every statement about this run, its direction and its verdict
come from the rows given.
"""

from collections.abc import Iterable

import pandas as pd

from guidelab.paper import names, reported, summary, verdicts
from guidelab.paper.evidence import Change, change, chosen_weight, means, weights
from guidelab.paper.opening import unestimable

NONE = ("none", 1.0)
_PICTURES = (
    (
        ("autog", 3.0),
        "the samples outside the class's region are gone and every branch is still visited",
        (("outliers_99", "down"), ("recall", "same"), ("mass_covered", "same"), ("branches_empty", "same")),
    ),
    (
        ("cfg", 4.0),
        "the samples outside the class's region are gone, and so are many branches",
        (("outliers_99", "down"), ("recall", "down"), ("mass_covered", "down"), ("branches_empty", "up")),
    ),
    (
        ("truncation", 1.4),
        "the samples outside the class's region are gone, and so are the leaves",
        (("outliers_99", "down"), ("leaf_mass", "down"), ("branches_empty", "up")),
    ),
)  # arXiv:2406.02507, figure 1 and its caption
_SWEPT = ("truncation", "cfg", "cfg_interval", "autog", "dg", "dg_autog")
_DEGRADED = {  # arXiv:2406.02507, section 4: FID of EDM2-S on ImageNet-512
    "dropout": "guiding a net with 5 % dropout by itself with 10 % restores the undamaged net's quality",
    "input_noise": "guiding a net with 10 % more input noise by itself with 20 % restores the undamaged net's quality",
    "mismatched": "with different kinds of damage guidance does not help at any weight",
}
_GUIDES = ("autog", "autog_xs", "autog_t16", "autog_ema")


def text(measurements: pd.DataFrame, selected: pd.DataFrame) -> str:
    """The story as Markdown.

    Args:
        measurements: tidy rows of one experiment.
        selected: the chosen weights; the blocks that chose them are left out.
    Raises:
        UserError: rows that may not be compared; see `checks`.
    """
    rows = reported.rows(measurements, selected)
    parts = [
        "# Findings: what these seeds show, and what the paper's pictures suggest",
        _opening(measurements, rows),
    ]
    for point, picture, expected in _PICTURES:
        parts += [
            f"## {names.point_label(f'{point[0]}/w{point[1]:.2f}')}",
            _picture(rows, point, picture, expected),
        ]
    parts += ["## Divergence from the data over the weight", _divergence(rows)]
    parts += ["## At the chosen weights", _chosen(rows, selected)]
    parts += ["## Does guidance repair a degraded main model?", _degraded(rows, selected)]
    parts += ["## Which weakness helps?", _guides(rows)]
    parts += ["## What could not be estimated", unestimable(rows, verdicts.phrase, _where)]
    return "\n\n".join(parts) + "\n"


def _opening(measurements: pd.DataFrame, rows: pd.DataFrame) -> str:
    first = measurements.iloc[0]
    trainings = rows.loc[rows["variant"] == "none", "train_seed"].nunique()
    blocks = ", ".join(dict.fromkeys(map(str, rows["seed_block"])))
    return (
        f"{first['experiment']}, {names.scale_name(str(first['scale']))}; {trainings} trainings of the unguided "
        f"model; numbers from blocks {blocks}, which chose no weight. Comparisons are paired: the same training "
        "with and without guidance, on the same noise. Outliers are samples outside the exact 99 % region of their class."
    )


def _picture(
    rows: pd.DataFrame, point: tuple[str, float], picture: str, expected: Iterable[tuple[str, str]]
) -> str:
    """The paper's picture, what each metric did here, and a verdict on each."""
    lines = [f"*The picture suggests:* {picture}.", ""]
    told = [(metric, way, change(rows, NONE, point, metric)) for metric, way in expected]
    if all(c is None for _, _, c in told):
        return "\n".join([*lines, "Here: not run."])
    for metric, way, c in told:
        if c is None:
            lines.append(f"- {verdicts.phrase(metric)}: not run.")
        else:
            lines.append(f"- {verdicts.sentence(metric, c)} {verdicts.against(way, c)}")
    return "\n".join(lines)


def _divergence(rows: pd.DataFrame) -> str:
    """How KL(data || model) runs over w for each method, starting from no guidance."""
    lines = []
    start = dict(means(rows, "none", "kl")).get(1.0)
    for variant in _SWEPT:
        series = means(rows, variant, "kl")
        if start is None or not series:
            state = "no sound number" if weights(rows, variant) else summary.NOT_RUN
            lines.append(f"- {names.label(variant)}: {state}.")
            continue
        values = ", ".join(f"{verdicts.show('kl', v)} at w = {w:g}" for w, v in series)
        lines.append(
            f"- {names.label(variant)}: {verdicts.course([start, *(v for _, v in series)], [None, *(w for w, _ in series)])} "
            f"({verdicts.show('kl', start)} without guidance; {values})."
        )
    head = "KL(data‖model) in nats, which punishes lost diversity:"
    return "\n".join([head, "", *lines])


def _chosen(rows: pd.DataFrame, selected: pd.DataFrame) -> str:
    """Each method at its own weight against no guidance: divergence, quality, diversity."""
    lines = []
    for variant in _SWEPT:
        choice = chosen_weight(selected, variant)
        if choice is None or not weights(rows, variant):
            lines.append(f"- {names.label(variant)}: {summary.NOT_RUN}.")
            continue
        w, by = choice
        told = [(m, change(rows, NONE, (variant, w), m)) for m in ("js", "outliers_99", "recall")]
        sentences = [verdicts.sentence(m, c) for m, c in told if c is not None]
        lines.append(
            f"- {names.point_label(f'{variant}/w{w:.2f}')} (chosen by {verdicts.phrase(by)}): "
            + (" ".join(sentences) or f"{summary.NOT_RUN}.")
        )
    return "\n".join(lines)


def _degraded(rows: pd.DataFrame, selected: pd.DataFrame) -> str:
    """Degraded nets at their chosen weight against themselves unguided, and against the undamaged net."""
    lines = []
    for variant, claim in _DEGRADED.items():
        lines.append(f"- *The paper:* {claim}. {names.label(variant).capitalize()}, here: ")
        choice = chosen_weight(selected, variant)
        if choice is None or 1.0 not in weights(rows, variant):
            lines[-1] += f"{summary.NOT_RUN}."
            continue
        w, by = choice
        if w == 1.0:
            lines[-1] += f"the best weight, by {verdicts.phrase(by)}, is 1: no guidance."
            continue
        lines[-1] += (
            f"at w = {w:g}, chosen by {verdicts.phrase(by)}, against the same degraded net unguided: "
        )
        told = [(m, change(rows, (variant, 1.0), (variant, w), m)) for m in (by, "outliers_99", "recall")]
        lines[-1] += " ".join(verdicts.sentence(m, c) for m, c in dict(told).items() if c is not None)
        repaired = change(rows, NONE, (variant, w), "outliers_99")
        if repaired is not None:
            more = {True: "more", False: "fewer"}[repaired.after > repaired.before]
            lines[-1] += (
                f" The undamaged net without guidance has {verdicts.show('outliers_99', repaired.before)} outliers: "
                f"the guided degraded net has {more}."
            )
    return "\n".join(lines)


def _guides(rows: pd.DataFrame) -> str:
    """The weak models at a weight they all have, on the training they all have."""
    common = set.intersection(*(set(weights(rows, v)) for v in _GUIDES))
    if not common:
        return f"Guides of several kinds at one weight: {summary.NOT_RUN}."
    w = min(common, key=lambda x: abs(x - 2.0))
    lines = [f"*The paper:* a guide that is both smaller and less trained is best. Here at w = {w:g}:", ""]
    for variant in _GUIDES:
        told = [(m, change(rows, NONE, (variant, w), m)) for m in ("outliers_99", "recall", "js")]
        lines.append(
            f"- {names.label(variant)}: "
            + (" ".join(verdicts.sentence(m, c) for m, c in told if c is not None) or f"{summary.NOT_RUN}.")
        )
    scores: dict[str, Change] = {}
    for variant in _GUIDES:
        seeds = change(_first_training(rows), NONE, (variant, w), "outliers_99")
        if seeds is not None:
            scores[variant] = seeds
    if len(scores) > 1:
        best = min(scores, key=lambda v: scores[v].after)
        lines += [
            "",
            f"On the first training, which all have, {names.label(best)} leaves the fewest outliers.",
        ]
    return "\n".join(lines)


def _first_training(rows: pd.DataFrame) -> pd.DataFrame:
    first: pd.DataFrame = rows[rows["train_seed"] == rows["train_seed"].min()]
    return first


def _where(part: pd.DataFrame, of: pd.DataFrame) -> str:
    """The points of `part`, a variant's weights left out when all of those in `of` are meant."""
    found = []
    for variant in names.ordered(part["variant"]):
        mine, all_ = weights(part, variant), weights(of, variant)
        labels = [names.point_label(f"{variant}/w{w:.2f}") for w in mine]
        found += [names.label(variant)] if mine == all_ else labels
    return "; ".join(found)
