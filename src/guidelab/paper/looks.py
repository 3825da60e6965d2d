"""One colour, marker and line per variant, the same in every figure of an experiment: a hue for each group.

Hues are those of seaborn's palette for colour-blind readers, and the members of a group run from dark to light in its
hue; each variant also has its own marker and dashes, so that curves stay apart on a grey print.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from typing import Any

import seaborn as sns
from matplotlib.colors import to_hex

from guidelab.paper import names
from guidelab.paper.divergence_numbers import NULL

INK = "#1a1a1a"  # text, frames, samples; also no guidance
GREY = "#777777"  # notes, and what is no sampler
_PALETTE = [to_hex(c) for c in sns.color_palette("colorblind")]
# blue, vermillion, green, purple, brown, grey: the methods' in every experiment
_HUES = {"no guidance": INK} | dict(
    zip(
        ("CFG", "autoguidance", "DG", "naive truncation", "several terms", "CG"),
        (_PALETTE[i] for i in (0, 3, 2, 4, 5, 7)),
        strict=True,
    )
)
_OTHER_HUES = [
    _PALETTE[i] for i in (9, 1, 6, 8)
]  # of groups that params.yaml names, in the order of its variants
_FIRST = {
    "no guidance": "*",
    "CFG": "s",
    "autoguidance": "o",
    "DG": "^",
    "naive truncation": "v",
    "several terms": "P",
}
_MARKERS = "oDs^vPXp<h>d"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (2, 1)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1)), (0, (7, 2)))
_DOTTED = (0, (1, 1.5))


@dataclass(frozen=True)
class Look:
    """How one variant is drawn: `marker` and `dashes` as matplotlib takes them."""

    color: str
    marker: str
    dashes: Any = "-"


def look(variant: str) -> Look:
    """The look of a variant; one that the job does not name has that of a group of its own."""
    found = _assigned(json.dumps(list(names.looks().values())))
    return found.get(variant) or Look(_PALETTE[7], "X", _DASHES[2])


def of_point(point: str) -> Look:
    """The look of a point's variant; real against real is grey and crossed."""
    return Look(GREY, "x", _DASHES[2]) if point == NULL else look(names.split_point(point)[0])


def spare(count: int) -> list[Look]:
    """Looks of lines that are no variant's, dark to light."""
    colors = sns.color_palette("viridis", count + 1)[:count]
    return [Look(to_hex(c), m, d) for c, m, d in zip(colors, cycle(_MARKERS), cycle(_DASHES), strict=False)]


def of_lines(points: Mapping[str, Iterable[str]]) -> dict[str, Look]:
    """The look of each line through some points: a variant's own where each line is of one variant, at any step count, else spare ones."""
    drawn = {line: {look(point.partition("/")[0]) for point in through} for line, through in points.items()}
    own = [next(iter(found)) for found in drawn.values() if len(found) == 1]
    # all lines their own look or none: a spare one could be another variant's
    if not len(own) == len(drawn) == len(set(own)):
        own = spare(len(drawn))
    return dict(zip(drawn, own, strict=True))


@lru_cache(maxsize=1)  # needed for every curve of a figure; shades take milliseconds
def _assigned(looks: str) -> dict[str, Look]:
    """Every variant's look, of a job's `looks` as JSON: those with one `like` share it."""
    given = {about["variant"]: about for about in json.loads(looks)}
    groups: dict[str, list[str]] = {}
    for name, about in given.items():
        if about["like"] == name:
            groups.setdefault(str(about["hue"]), []).append(name)
    other = cycle(_OTHER_HUES)
    taken = {_FIRST[group] for group in groups if group in _FIRST}
    drawn: set[tuple[str, Any]] = set()
    found: dict[str, Look] = {}
    for group, members in groups.items():
        colors = _shades(_HUES.get(group) or next(other), len(members))
        for i, (name, color) in enumerate(zip(members, colors, strict=True)):
            dashes = _DOTTED if color == INK else _DASHES[(i + (group == "several terms")) % len(_DASHES)]
            if i == 0 and group in _FIRST:
                marker = _FIRST[group]
            else:
                marker, dashes = _free(taken, drawn, dashes)
            taken.add(marker)
            drawn.add((marker, dashes))
            about = given[name]
            found[name] = Look(about.get("color", color), about.get("marker", marker), dashes)
    return {name: found[str(about["like"])] for name, about in given.items()}


def _free(taken: set[str], drawn: set[tuple[str, Any]], dashes: Any) -> tuple[str, Any]:
    """A marker of its own with these dashes; where all are taken, the first pair of marker and dashes that is not drawn."""
    alone = [m for m in _MARKERS if m not in taken]
    pairs = [(m, dashes) for m in alone] + [(m, d) for d in reversed(_DASHES) for m in _MARKERS]
    return next((pair for pair in pairs if pair not in drawn), (_MARKERS[0], dashes))


def _shades(hue: str, count: int) -> list[str]:
    """`count` shades of one hue, dark to light; the hue itself for one."""
    if count == 1:
        return [hue]
    dark, light = sns.dark_palette(hue, 3)[1], sns.light_palette(hue, 5)[2]
    return [to_hex(c) for c in sns.blend_palette([dark, hue, light], count)]
