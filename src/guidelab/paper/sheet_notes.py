"""The notes under a printed table: how many samples and features, what marks and signs mean, how weights were chosen."""

import re
from collections.abc import Iterable
from typing import Any, cast

import pandas as pd

from guidelab.paper import metric_names, names, summary
from guidelab.paper.cells import MARK_NOTES, STATUS_NOTES
from guidelab.paper.table import LOWEST

SIGNS = {summary.BETTER: "⁺", summary.WORSE: "⁻"}
_SIGN_NOTE = (
    "⁺ clearly better, ⁻ clearly worse than no guidance with as many sampler steps, on the same trainings, blocks and sample "
    "seeds: the 95 % interval of the difference leaves out 0 and every block agrees in sign. Signs are not "
    "corrected for the number of comparisons: of twenty differences that are none, one may be called better or worse. The column "
    "“verdict by Holm” of the CSV is, over all differences to no guidance of this table in one feature space."
)
_UNPAIRED = (
    "Over one training, differences of {metrics} combine the standard errors of both points as if they were unpaired: shared "
    "noise makes the true intervals narrower. All others are paired, sample by sample."
)
_NO_PUBLISHED = (
    "No published value stands here: the papers' numbers are of other datasets, nets and numbers of samples, and FID "
    "compares only at equal features, reference and number of samples."
)
_REAL = (
    "Real data: held-out examples in the place of samples, one block of as many, through the same features and reference: "
    "what a perfect sampler would get."
)


def notes(table: pd.DataFrame, metrics: list[dict[Any, Any]]) -> list[str]:
    """What the columns, marks and weights mean."""
    shown = table[table["metric"].isin([m["metric"] for m in metrics]) & ~table["real"]]
    said = [
        _sizes(shown),
        _dimensions(shown),
        _REAL if table["real"].any() else "",
        _spaces(metrics),
        _marks(shown),
        _choice(table),
        _budget(table),
    ]
    if table["verdict"].isin(list(SIGNS)).any():
        said.append(_SIGN_NOTE)
    unpaired = table.loc[table["difference_over"] == summary.AS_UNPAIRED, "name"].unique()
    if len(unpaired):
        said.append(_UNPAIRED.format(metrics=", ".join(map(str, unpaired))))
    if "published_verdict" in table:
        word = str(table["published_verdict"].iloc[0])
        said.append(f"Published values: {word}." if word and word != "nan" else "")
    elif table["space"].any():
        said.append(_NO_PUBLISHED)
    said.append("All metrics, differences and minima of blocks are in the CSV of the same name.")
    return [text for text in said if text]


def _choice(table: pd.DataFrame) -> str:
    """On which block weights were chosen, by what."""
    chosen = table[table["chosen_on"] != ""]
    if chosen.empty:
        return "No weight was chosen here: each variant has the one of params.yaml. The block that would choose is in no number."
    blocks = ", ".join(dict.fromkeys(map(str, chosen["chosen_on"])))
    words = dict(zip(table["metric"], table["name"], strict=True))
    metrics = dict.fromkeys(m for by in chosen["chosen_by"] for m in str(by).split(", "))
    by = ", ".join(dict.fromkeys(str(words.get(m, metric_names.base(m))) for m in metrics))
    edge = (
        "; edge: the smallest or the largest weight tried, the best may lie beyond"
        if chosen["edge"].any()
        else ""
    )
    return f"Weights were chosen on block {blocks}{f' by {by}' if by else ''}; every number comes from blocks that chose no weight{edge}."


def _spaces(metrics: list[dict[Any, Any]]) -> str:
    """What the feature spaces were trained on: that decides what they see."""
    spaces = metric_names.spaces(m["metric"] for m in metrics)
    said = [f"{metric_names.features_short(s)}: {metric_names.features_label(s)}" for s in spaces]
    return "; ".join(said) + "." if said else ""


def _budget(table: pd.DataFrame) -> str:
    """How many guides and points each method had to choose from: the more, the luckier its best line."""
    if not table["space"].any():
        return ""
    lines = table.drop_duplicates(["variant", "weights_tried"])
    alone = ~lines["guides"].str.contains("+", regex=False) & (lines["guides"] != "")
    lines = lines[lines["section"].isin(names.SECTIONS) & alone]
    said = []
    for name, start in (("CFG", "cfg"), ("autoguidance", "autog"), ("DG", "dg")):
        mine = lines[lines["variant"].isin(names.kin(lines["variant"], start))]
        if len(mine):
            guides, variants = mine["guides"].nunique(), mine["variant"].nunique()
            points = int(mine.drop_duplicates("variant")["weights_tried"].sum())
            said.append(
                f"{name} {guides} guide{'s' if guides > 1 else ''}, {variants} lines, {points} points"
            )
    tried = "; ".join(said) or "nothing guided"
    return f"Tried in all, combinations aside: {tried}. A line's weight was chosen among its own points only."


def _sizes(part: pd.DataFrame) -> str:
    """`2 blocks of 1,000 samples for each training; FID against 10,000 of test`, for each set of metrics measured alike."""
    ran = part[part["status"] == summary.OK]
    if ran.empty:
        return "No numbers."
    alike = ran.groupby(["n_blocks", "n_generated"], sort=False)
    said = []
    for (blocks, n), mine in cast("Iterable[tuple[tuple[float, float], pd.DataFrame]]", alike):
        who = f" ({', '.join(mine['name'].unique())})" if alike.ngroups > 1 else ""
        said.append(
            f"{int(blocks)} block{'s' if blocks > 1 else ''} of {int(n):,} samples for each training{who}"
        )
    return "; ".join(filter(None, [*said, _references(ran)])) + "."


def _dimensions(part: pd.DataFrame) -> str:
    """`FID, Lite0: 1,000 samples for 1,280 features, fewer than features`: its bias grows with features and falls with samples."""
    ran = part[(part["status"] == summary.OK) & part["metric"].map(metric_names.base).isin(LOWEST)]
    known = ran[pd.to_numeric(ran["n_features"], errors="coerce") > 0].drop_duplicates("metric")
    said = [
        f"{row['name']}, {metric_names.features_short(row['space'])}: {int(row['n_generated']):,} samples for "
        f"{int(row['n_features']):,} features"
        for row in known.to_dict("records")
    ]
    return (
        f"{'; '.join(said)}. The fewer samples a feature, the higher FID is, of real data too."
        if said
        else ""
    )


def _references(ran: pd.DataFrame) -> str:
    """`FID against released adm_256; recall against 10,000 of adm (k = 3, 10,000 real x 50,000 generated)`."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in ran[ran["space"] != ""].drop_duplicates("metric").to_dict("records"):
        reference, n = str(row["reference_split"]), int(row["n_reference"] or 0)
        if reference not in ("", "none"):
            counted = re.sub(r"\d{4,}", lambda m: f"{int(m[0]):,}", str(row["counted"]))
            whole = (f"{n:,} of {reference}" if n else reference) + (f" ({counted})" if counted else "")
            found.setdefault((str(row["name"]), whole), []).append(metric_names.features_short(row["space"]))
    several = {name for name, _ in found if sum(name == other for other, _ in found) > 1}
    said = [
        name + (f" in {', '.join(spaces)}" if name in several else "") + f" against {whole}"
        for (name, whole), spaces in found.items()
    ]
    return "; ".join(said)


def _marks(part: pd.DataFrame) -> str:
    used = set(part.loc[part["status"] == summary.OK, "over"])
    found = [text for over, text in MARK_NOTES.items() if over in used]
    found += [text for status, text in STATUS_NOTES.items() if status in set(part["status"])]
    return "; ".join(found) + "." if found else ""
