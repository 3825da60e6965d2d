"""Words for the numbers of an image experiment: a difference, where an optimum lies, whether damage was repaired."""

import math

from guidelab.paper import reported, summary
from guidelab.paper.cells import number
from guidelab.paper.images.findings import Findings, Gap


def value(f: Findings, metric: str, x: float) -> str:
    """A number with the digits its size allows: 178, 2.58, 0.558, 92.1 %."""
    info = f.info[metric]
    unit, digits = str(info["unit"]), int(info["digits"])
    if math.isnan(x):
        return summary.NOT_RUN
    if abs(x) >= 10 and unit != "%":
        digits = max(0, min(digits, 2 - int(math.log10(abs(x)))))
    return number(x, unit, digits) + (" %" if unit == "%" else "")


def fid(f: Findings, space: str) -> str:
    """The name of the Fréchet distance in a feature space: `FID`, or `FD-DINOv2`."""
    return str(f.info[f"fid@{space}"]["name"])


def outcome(g: Gap) -> str:
    """`better`, `worse`, `no clear difference` or `not run`, of the second variant."""
    return g.gap.verdict(g.direction)


def arrow(f: Findings, metric: str, d: summary.Difference) -> str:
    """`416 → 178 (difference −238 [−247, −229])`."""
    if math.isnan(d.value):
        return summary.NOT_RUN
    ends = "" if math.isnan(d.lo) else f" [{value(f, metric, d.lo)}, {value(f, metric, d.hi)}]"
    return f"{value(f, metric, d.before)} → {value(f, metric, d.after)} (difference {value(f, metric, d.value)}{ends})"


def sentence(f: Findings, space: str, g: Gap) -> str:
    """`In Lite0 features at w = 2, better: FID 416 → 178 (...); recall clearly higher, 0.322 → 0.558.`"""
    if math.isnan(g.gap.value):
        return f"In {f.space(space)}: {summary.NOT_RUN}."
    recall = brief(f, "recall", f.difference(g.before, g.after, space, "recall"), space)
    said = f"In {f.space(space)} at w = {f.weight(g.after, space):g}, **{outcome(g)}**: {fid(f, space)} {arrow(f, f'fid@{space}', g.gap)}"
    return f"{said}{'; ' + recall if recall else ''}."


def brief(f: Findings, name: str, d: summary.Difference, space: str = "") -> str:
    """`recall clearly higher, 0.449 → 0.558`; empty for a metric that was not measured."""
    metric = f"{name}@{space}" if space else next((m for m in f.info if m.startswith(f"{name}@")), "")
    if math.isnan(d.value) or not metric:
        return ""
    moved = "no clear change" if not d.clear else ("clearly higher" if d.value > 0 else "clearly lower")
    return f"{name} {moved}, {value(f, metric, d.before)} → {value(f, metric, d.after)}"


def bracket(f: Findings, variant: str, space: str) -> str:
    """Where the chosen weight lies among those tried, and where the other blocks have their lowest FID.

    Below the smallest weight tried stands no guidance, if that is what the variant is at its neutral weight.
    """
    curve = {w: v for w, v in f.curve(variant, space).items() if not math.isnan(v)}
    chosen, neutral = f.weight(variant, space), f.neutral(variant)
    if chosen not in curve:
        return f"{summary.NOT_RUN}."
    base = f.base(variant)
    whole = base is not None and reported.starts_unguided(f.rows, variant, f.mains)
    if chosen == neutral and whole:
        return f"the choice is the neutral weight {chosen:g}: no guidance."
    smaller = {w: v for w, v in curve.items() if w < chosen}
    unguided = f.mean(str(base), f.weight(str(base), space), f"fid@{space}") if whole else math.nan
    if not math.isnan(unguided):
        smaller[neutral] = unguided
    below = any(v > curve[chosen] for v in smaller.values())
    above = any(v > curve[chosen] for w, v in curve.items() if w > chosen)
    place = "above" if chosen > neutral else "not above"
    said = (
        f"w = {chosen:g} of {', '.join(f'{w:g}' for w in sorted(curve))}, {place} the neutral {neutral:g}; "
    )
    if below and above:
        how = "without guidance" if set(smaller) == {neutral} else "at a smaller"
        said += f"**bracketed**: FID is higher {how} and at a larger weight"
    elif above and not smaller:
        said += "**not bracketed**: it is the smallest weight tried"
    elif above:
        said += "**not bracketed on these blocks**: FID is higher neither without guidance nor at a smaller weight"
    elif chosen == max(curve):
        said += "**not bracketed**: it is the largest weight tried, the optimum may lie beyond"
    else:
        said += "**not bracketed on these blocks**: no larger weight has a higher FID"
    best = min(curve, key=lambda w: curve[w])
    if best != chosen:
        said += f"; these blocks have their lowest at w = {best:g}"
    return said + "."


def repair(f: Findings, variant: str, space: str) -> str:
    """A damaged net, guided, against itself unguided (its neutral weight) and against the healthy net unguided."""
    metric, chosen, neutral = f"fid@{space}", f.weight(variant, space), f.neutral(variant)
    healthy = summary.difference(f.rows, ("none", f.weight("none", space)), (variant, chosen), metric)
    verdict = healthy.verdict("lower")
    against = f"against the healthy net unguided, FID {arrow(f, metric, healthy)}: {verdict}."
    if chosen == neutral:
        most = max(f.curve(variant, space))
        guided = summary.difference(f.rows, (variant, neutral), (variant, most), metric)
        said = f"; guided at w = {most:g} FID {arrow(f, metric, guided)}: {guided.verdict('lower')}"
        return f"the best weight is {neutral:g}, no guidance{said if most != neutral else ''}; {against}"
    own = summary.difference(f.rows, (variant, neutral), (variant, chosen), metric)
    if math.isnan(own.value):
        return f"w = {chosen:g}; {against}"
    said = {summary.BETTER: "guidance improves it", summary.WORSE: "guidance harms it"}.get(
        own.verdict("lower"), "guidance makes no clear difference"
    )
    return f"{said}, at w = {chosen:g} FID {arrow(f, metric, own)} from itself unguided; {against}"
