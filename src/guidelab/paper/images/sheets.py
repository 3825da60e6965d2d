# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""From the rows of an image experiment's table to what Markdown and LaTeX print: a sheet for each section and space."""

import math
import re
from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, names, summary
from guidelab.paper.cells import ARROWS, MARK_NOTES, MARKS, Sheet, number, title
from guidelab.paper.images import beside, beside_print, compare, wording

_MARKS = MARKS | {compare.AS_UNPAIRED: "†"}
_READING = (
    "Differences are to no guidance with as many sampler steps, on the same trainings, blocks and sample seeds. Over one "
    "training, their intervals combine the standard errors of both points as if they were unpaired: shared noise makes "
    "the true ones narrower. better, worse: the 95 % interval leaves out 0 and every block agrees in sign. Nothing is "
    "corrected for the number of comparisons: of twenty differences that are none, one may be called better or worse."
)
_MINIMUM = (
    "min of 3 (paper style): the least of all blocks at the printed weight, the block that chose it too; the papers report "
    "FID so. It is below the mean by construction and is compared with nothing."
)
_NO_PUBLISHED = (
    "No published value stands here: the papers' numbers are of other datasets, nets and numbers of samples, and FID "
    "compares only at equal features, reference and number of samples."
)
_SMOKE = (
    "This is a smoke test. The nets have random weights, the images are made up and the numbers mean nothing: it shows that "
    "every step from data to this table runs. What measures is made up too: below, Inception and DINOv2 name small random "
    "nets in their place, and published references are statistics of made-up images in these nets' features. No published "
    "value stands here, nor may any of this stand beside one."
)


def to_markdown(table: pd.DataFrame) -> str:
    """The rows of `table.make_table` as Markdown."""
    return markdown.document(title(table), sheets(table))


def to_latex(table: pd.DataFrame) -> str:
    """The rows of `table.make_table` as LaTeX; needs the package booktabs."""
    return latex.document(title(table), sheets(table))


def sheets(table: pd.DataFrame) -> list[Sheet]:
    """First how each line's weight was chosen, then the numbers by section and feature space."""
    listed = table[table["section"] == beside.SECTION]
    table = table[table["section"] != beside.SECTION].infer_objects()
    found = [_origins(table)]
    spaces = [f for f in dict.fromkeys(table["features"]) if f]
    for section, part in table.groupby("section", sort=False):
        found += [_numbers(str(section), space, part[part["features"] == space]) for space in spaces]
    if str(table["scale"].iloc[0]) == names.scale_name(names.SMOKE):
        found[0].notes.insert(0, _SMOKE)
    if len(listed):
        found[-1].notes.extend([_READING, _MINIMUM.replace("with nothing", "with published minima only")])
        return [*found, beside_print.sheet(listed)]
    found[-1].notes.extend([_READING, _MINIMUM, *([] if "published_verdict" in table else [_NO_PUBLISHED])])
    if "published_verdict" in table:
        found[-1].notes.append(f"Published values: {table['published_verdict'].iloc[0]}.")
    return found


def _origins(table: pd.DataFrame) -> Sheet:
    """Guides, weights to choose from, who chose, steps and trainings of every line."""
    header = ["", "guides", "w", "neutral w", "chosen by", "weights tried", "steps", "NFE", "trainings"]
    body = []
    for line in _each(table):
        ran = "–" if line["real"] else str(int(line["n_trainings"]) or summary.NOT_RUN)
        body.append([
            str(line["label"]), str(line["guides"]) or "–", _at(line), _w(line["w_neutral"]), _chooser(line),
            str(line["weights_tried"] or "–"), str(line["steps"]) or "–", str(line["nfe"]) or "–",
            ran,
        ])  # fmt: skip
    chosen_on = ", ".join(dict.fromkeys(str(b) for b in table["chosen_on"] if b)) or "none"
    notes = [
        f"Weights were chosen on block {chosen_on}, by the mean over trainings; every number below comes from the other "
        "blocks. Guides are named as in params.yaml. NFE: calls of the main net for a sample; the guide's come on top. "
        "Lines of one method share their main net, so its luck in training is shared too.",
        _budget(table),
    ]
    return Sheet("Lines, and how each weight was chosen", header, body, notes, "lllll" + "rrrr")


def _budget(table: pd.DataFrame) -> str:
    """How many guides and points each method had to choose from: the more, the luckier its best line."""
    lines = table.drop_duplicates(["variant", "weights_tried"])
    lines = lines[
        lines["section"].isin(wording.SECTIONS)
        & (lines["guides"] != "")
        & ~lines["guides"].str.contains("+", regex=False)
    ]
    said = []
    for name, start in (("CFG", "cfg"), ("autoguidance", "autog"), ("DG", "dg")):
        mine = lines[wording.kin(lines["variant"], start)]
        if len(mine):
            guides, points = (
                mine["guides"].nunique(),
                int(mine.drop_duplicates("variant")["weights_tried"].sum()),
            )
            said.append(
                f"{name} {guides} guide{'s' if guides > 1 else ''}, {mine['variant'].nunique()} lines, {points} points"
            )
    text = "Tried in all, combinations aside: " + ("; ".join(said) or "nothing guided") + ". "
    return (
        text
        + "A line's weight was chosen among its own points only; picking the best of several lines is more optimistic."
    )


def _numbers(section: str, space: str, part: pd.DataFrame) -> Sheet:
    """One section in one feature space."""
    metrics = part.drop_duplicates("metric").to_dict("records")
    header, columns = ["", "w"], []
    for metric in metrics:
        mine = part[part["metric"] == metric["metric"]]
        name = wording.base(str(metric["metric"]))
        columns.append((str(metric["metric"]), "value", _decimals(mine, int(metric["digits"]))))
        header.append(_heading(metric))
        if name in ("fid", "recall"):
            columns.append((str(metric["metric"]), "difference", columns[-1][2]))
            header.append(f"{metric['name']}, difference")
        if name == "fid":
            most = int(mine["blocks_of_min"].max())
            columns.append((str(metric["metric"]), "min_of_blocks", columns[-1][2]))
            header.append(f"min of {most} (paper style)" if most else "min of blocks (paper style)")
    by_key = {(r["variant"], _w(r["w"]), r["metric"]): r for r in part.to_dict("records")}
    body = [
        [str(p["label"]), _weight(p, space)]
        + [
            _cell(by_key[(p["variant"], _w(p["w"]), metric)], what, digits)
            for metric, what, digits in columns
        ]
        for p in _each(part)
    ]
    note = "; ".join(filter(None, [_sizes(part), *_marks(part)])) + "."
    return Sheet(
        f"{section}: {wording.features_label(space)}", header, body, [note], "ll" + "r" * len(columns)
    )


def _each(part: pd.DataFrame) -> list[dict[Any, Any]]:
    """The lines of a part, each once, with the most trainings any of its metrics has."""
    most = part.groupby(["variant", "w"], sort=False, dropna=False)["n_trainings"].transform("max")
    lines: list[dict[Any, Any]] = (
        part.assign(n_trainings=most).drop_duplicates(["variant", "w"]).to_dict("records")
    )
    return lines


def _cell(row: dict[Any, Any], what: str, digits: int) -> str:
    """`178.4 ± 4.3†`, `−230 ± 9†, better`, `171.2`, `not run`."""
    unit = str(row["unit"])
    if row["real"] and (what == "min_of_blocks" or row["status"] == summary.NOT_RUN):
        return "–"  # one block has no least; and real images are not met with the fold they are of
    if what == "min_of_blocks":
        return "–" if math.isnan(row[what]) else number(float(row[what]), unit, digits)
    if what == "difference":
        if not row["verdict"]:
            return "–"
        ends = (float(row["difference"]), float(row["difference_lo"]), float(row["difference_hi"]))
        return f"{_interval(*ends, unit, digits)}{_MARKS[row['difference_over']]}, {row['verdict']}"
    if row["status"] != summary.OK:
        return str(row["status"])
    ends = (float(row["value"]), float(row["lo"]), float(row["hi"]))
    return _interval(*ends, unit, digits) + _MARKS[str(row["over"])]


def _interval(value: float, lo: float, hi: float, unit: str, digits: int) -> str:
    if math.isnan(lo):
        return number(value, unit, digits)
    if math.isclose(value - lo, hi - value, rel_tol=1e-6, abs_tol=1e-12):
        return f"{number(value, unit, digits)} ± {number(hi - value, unit, digits)}"
    return f"{number(value, unit, digits)} [{number(lo, unit, digits)}, {number(hi, unit, digits)}]"


def _decimals(column: pd.DataFrame, digits: int) -> int:
    """Four significant digits of the column's largest value at most: 416.0 beside 178.4, not 416.02."""
    largest = column["value"].abs().max()
    if math.isnan(largest) or largest < 1:
        return digits
    return max(0, min(digits, 3 - int(math.log10(largest))))


def _heading(metric: dict[Any, Any]) -> str:
    unit = " (%)" if metric["unit"] == "%" else ""
    return f"{metric['name']}{unit} {ARROWS.get(str(metric['direction']), '')}".strip()


def _weight(line: dict[Any, Any], space: str) -> str:
    """The weight, and who chose it when that was another feature space."""
    by = [f for m in str(line["chosen_by"]).split(", ") if (f := wording.features(m))]
    other = f", by {', '.join(map(wording.features_short, by))}" if by and space not in by else ""
    return _at(line) + other


def _at(line: dict[Any, Any]) -> str:
    """The weight of a line; images that nothing sampled have none."""
    return "–" if line["real"] else _w(line["w"])


def _chooser(line: dict[Any, Any]) -> str:
    """`FID in Lite0 and classifier`, or that there was nothing to choose."""
    by = [m for m in str(line["chosen_by"]).split(", ") if m]
    if not by:
        return "the only one" if line["weights_tried"] else "–"
    if not any(wording.features(m) for m in by):
        return by[0]
    spaces = [wording.features_short(wording.features(m)) for m in by]
    return f"{wording.base(by[0]).upper()} in {' and '.join(spaces)}"


def _sizes(part: pd.DataFrame) -> str:
    """`2 blocks of 1,000 samples for each training against 10,000 of test`."""
    ran = part[part["status"] == summary.OK]
    if ran.empty:
        return "no numbers"
    first = ran.sort_values("n_reference", ascending=False, kind="stable").iloc[
        0
    ]  # some metrics have no reference
    blocks = sorted({int(b) for b in ran["n_blocks"]})
    each = (
        f"{'–'.join(str(b) for b in dict.fromkeys((blocks[0], blocks[-1])))} block{'s' if blocks[-1] > 1 else ''} of "
        f"{int(first['n_generated']):,} samples for each training"
    )
    if "published_verdict" in part:  # the papers' protocols: each metric meets what its evaluator does
        return f"{each}; {_met(ran)}"
    return (
        f"{each}, against {int(first['n_reference']):,} of {first['reference_split']} in FID; KID, precision and recall meet an "
        "equal number drawn from it"
    )


def _met(ran: pd.DataFrame) -> str:
    """`FID against released adm_256; recall against 10,000 of adm (k = 3, 10,000 real x 50,000 generated)`: as it was."""
    found: dict[str, list[str]] = {}
    for row in ran.drop_duplicates("metric").to_dict("records"):
        split, n = str(row["reference_split"]), int(row["n_reference"] or 0)
        if split not in ("", "none"):
            counted = re.sub(r"\d{4,}", lambda m: f"{int(m[0]):,}", str(row["counted"]))
            met = (f"{n:,} of {split}" if n else split) + (f" ({counted})" if counted else "")
            found.setdefault(met, []).append(str(row["name"]))
    said = "; ".join(f"{', '.join(metrics)} against {what}" for what, metrics in found.items())
    return said or "no reference"


def _marks(part: pd.DataFrame) -> list[str]:
    used = set(part.loc[part["status"] == summary.OK, "over"])
    return [text for over, text in MARK_NOTES.items() if over in used]


def _w(w: Any) -> str:
    return "–" if w is None or pd.isna(w) else f"{float(w):.2f}"
