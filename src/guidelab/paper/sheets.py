# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""From the rows of a table to what Markdown and LaTeX print: one headline sheet a section, then the published values."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import pandas as pd

from guidelab.paper import latex, markdown, metric_names, names, published_sheet, summary
from guidelab.paper.cells import ARROWS, MARK_NOTES, MARKS, MOST, STATUS_NOTES, Sheet, interval
from guidelab.paper.columns import split

_FIRST = (
    "fid",
    "js",
    "recall",
    "outliers_99",
    "kl",
    "frechet",
    "accuracy",
    "precision",
)  # what goes in a headline
_SIGNS = {summary.BETTER: "⁺", summary.WORSE: "⁻"}
_SIGN_NOTE = (
    "⁺ clearly better, ⁻ clearly worse than no guidance with as many sampler steps, on the same trainings, blocks and sample "
    "seeds: the 95 % interval of the difference leaves out 0 and every block agrees in sign. Signs are not "
    "corrected for the number of comparisons: of twenty differences that are none, one may be called better or worse. The column "
    "“verdict by Holm” of the CSV is, over all differences of this table in one feature space."
)
_UNPAIRED = (
    "Over one training, differences combine the standard errors of both points as if they were unpaired: shared noise makes "
    "the true intervals narrower."
)
_NO_PUBLISHED = (
    "No published value stands here: the papers' numbers are of other datasets, nets and numbers of samples, and FID "
    "compares only at equal features, reference and number of samples."
)
_SMOKE = (
    "This is a smoke test. The nets have random weights, the images are synthetic and the numbers mean nothing: it shows that "
    "every step from data to this table runs. The feature extractors are synthetic too: below, Inception and DINOv2 name small random "
    "nets, and published references are statistics of synthetic images in these nets' features. No published "
    "value stands here, nor may any of this stand next to one."
)


def to_markdown(table: pd.DataFrame) -> str:
    """The rows of `table.make_table` as Markdown."""
    return markdown.document(title(table), sheets(table))


def to_latex(table: pd.DataFrame) -> str:
    """The rows of `table.make_table` as LaTeX; needs the package booktabs."""
    return latex.document(title(table), sheets(table))


def title(table: pd.DataFrame) -> str:
    """`toy2d, scaled down (reduced)`."""
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}"


def sheets(table: pd.DataFrame) -> list[Sheet]:
    """A headline sheet for each section with all notes under the last, then the published values."""
    ours, listed = split(table)
    metrics = headline(ours)
    choosers = set(metric_names.spaces(m for by in ours["chosen_by"] for m in str(by).split(", ")))
    found = [
        _section(str(name), part, metrics, choosers) for name, part in ours.groupby("section", sort=False)
    ]
    found[-1].notes.extend(_notes(ours, metrics))
    if str(ours["scale"].iloc[0]) == names.scale_name(names.SMOKE):
        found[0].notes.insert(0, _SMOKE)
    return [*found, published_sheet.sheet(listed)] if len(listed) else found


def headline(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The metrics of the headline: as many as fit, each in every feature space, the most telling first."""
    known = table[table["status"] != summary.NOT_RUN].drop_duplicates("metric").to_dict("records")
    rank = {name: i for i, name in enumerate(_FIRST)}
    ordered = sorted(known, key=lambda m: rank.get(metric_names.base(str(m["metric"])), len(rank)))
    return ordered[: MOST - 3]


def _section(name: str, part: pd.DataFrame, metrics: list[dict[Any, Any]], choosers: set[str]) -> Sheet:
    """The lines of a section: label, weight, the headline's metrics, trainings."""
    by = {(r["row"], r["variant"], _w(r["w"]), r["metric"]): r for r in part.to_dict("records")}
    most = part.groupby(["row", "variant", "w"], sort=False, dropna=False)["n_trainings"].transform("max")
    each = part.assign(n_trainings=most).drop_duplicates(["row", "variant", "w"])
    body = []
    for line in each.to_dict("records"):
        key = (line["row"], line["variant"], _w(line["w"]))
        trainings = "–" if line["real"] else str(int(line["n_trainings"]) or summary.NOT_RUN)
        numbers = [_cell(by[(*key, m["metric"])]) for m in metrics]
        body.append([str(line["label"]), _weight(line, choosers), *numbers, trainings])
    header = ["", "w", *map(_heading, metrics), "trainings"]
    return Sheet(name, header, body, [], "ll" + "r" * (len(metrics) + 1))


def _cell(row: Mapping[Any, Any]) -> str:
    """`178 ± 4†⁺`, `not run`."""
    if row["status"] != summary.OK:
        return "–" if row["real"] and row["status"] == summary.NOT_RUN else str(row["status"])
    ends = (float(row["value"]), float(row["lo"]), float(row["hi"]))
    text = interval(*ends, str(row["unit"]), int(row["digits"]))
    return text + MARKS[str(row["over"])] + _SIGNS.get(str(row["verdict"]), "")


def _heading(metric: Mapping[Any, Any]) -> str:
    """`FID, Lite0 ↓`, `outliers, exact 99 % (%) ↓`."""
    unit = {"%": " (%)", "nat": " (nats)"}.get(str(metric["unit"]), "")
    space = f", {metric_names.features_short(str(metric['space']))}" if metric["space"] else ""
    return f"{metric['name']}{space}{unit} {ARROWS.get(str(metric['direction']), '')}".strip()


def _weight(line: Mapping[Any, Any], choosers: set[str]) -> str:
    """The weight, and who chose it where that says something: a feature space among several, or the paper."""
    if line["real"]:
        return "–"
    by = [m for m in str(line["chosen_by"]).split(", ") if m]
    chose = [metric_names.features(m) for m in by if metric_names.features(m)]
    edge = ", edge" if line["edge"] else ""
    if by and not chose:
        return f"{_w(line['w'])}, {'chosen' if line['chosen_on'] else by[0]}{edge}"
    some = chose and not choosers <= set(chose)
    return (
        _w(line["w"]) + (f", by {', '.join(map(metric_names.features_short, chose))}" if some else "") + edge
    )


def _w(w: Any) -> str:
    return "–" if w is None or pd.isna(w) else f"{float(w):.2f}"


# ---- notes -------------------------------------------------------------------------------------------------------


def _notes(table: pd.DataFrame, metrics: list[dict[Any, Any]]) -> list[str]:
    """What the columns, marks and weights mean."""
    shown = table[table["metric"].isin([m["metric"] for m in metrics])]
    said = [_sizes(shown), _spaces(metrics), _marks(shown), _choice(table), _budget(table)]
    if table["verdict"].isin(list(_SIGNS)).any():
        said.append(_SIGN_NOTE)
    if (table["difference_over"] == summary.AS_UNPAIRED).any():
        said.append(_UNPAIRED)
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
