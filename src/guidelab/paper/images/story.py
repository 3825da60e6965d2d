"""What an image experiment shows, in sentences made from its numbers: every direction and verdict is computed.

Fixed text is only what the papers claim, which is of other data, and how to read the intervals.
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from guidelab.paper import names, summary
from guidelab.paper.images import words
from guidelab.paper.images.findings import Findings
from guidelab.paper.opening import unestimable

MAIN = (
    "cfg", "cfg_interval", "cfg_apg", "icg", "cg", "autog", "dg", "dg_first", "dg_frozen", "dg_autog", "dg_cfg",
    "cfg_autog",
)  # fmt: skip
_SUMS = (("dg_autog", ("autog", "dg")), ("dg_cfg", ("cfg", "dg")), ("cfg_autog", ("cfg", "autog")))
_MORE_SUMS = (("cg_dg", ("cg", "dg")), ("cfg_dg", ("cfg", "dg")), ("cg_autog", ("cg", "autog")))
_OF_DG = ("dg_first", "dg_boost", "dg_frozen")
_OF_CFG = ("cfg_interval", "cfg_apg", "icg", "cg")
_PAPERS_ON_DAMAGE = (
    "*The paper (arXiv:2406.02507, section 4, on ImageNet):* a net that is damaged, and guided by itself damaged more, gets "
    "about as good as the undamaged net, not better; with different kinds of damage guidance does not help; and making a "
    "guide of a healthy net by dropout or noise did not work."
)
_PAPERS_ON_GUIDES = (
    "*The paper:* a guide that is both smaller and trained for less time is best; each alone helps less."
)


def text(measurements: pd.DataFrame, selected: pd.DataFrame, info: pd.DataFrame, spec: dict[str, Any]) -> str:
    """The findings as Markdown.

    Args:
        measurements: tidy rows of one image experiment.
        selected: the chosen weights; the block that chose them is left out of every number.
        info: workflow/resources/metrics.csv.
        spec: experiment, scale and optionally mains (variant to the net it guides).
    Raises:
        UserError: rows that may not be compared; see `reported.rows`.
    """
    if spec["scale"] == names.SMOKE:
        return _smoke(measurements, spec)
    f = Findings(measurements, selected, info, spec.get("mains"))
    sections = (
        ("Does each method beat no guidance?", _beats(f)),
        ("Is the best weight above neutral, and bracketed?", _bracketed(f)),
        ("CFG or autoguidance?", _rivals(f)),
        ("Do sums of methods beat either alone?", _adds(f)),
        ("Variants of conditional guidance against CFG", _against(f, "cfg", _OF_CFG)),
        ("Variants of discriminator guidance against DG", _against(f, "dg", _OF_DG)),
        ("Which weakness of the guide helps?", f"{_PAPERS_ON_GUIDES}\n\n{_guides(f)}"),
        ("Does guidance repair or improve a damaged net?", f"{_PAPERS_ON_DAMAGE}\n\n{_damaged(f)}"),
        ("Do the feature spaces agree?", _agreement(f)),
        ("What could not be estimated", unestimable(f.rows, str, lambda part, _: _variants(f, part))),
    )
    parts = ["# What these numbers show", _opening(f, spec)]
    for heading, body in sections:
        parts += [f"## {heading}", body]
    return "\n\n".join(parts) + "\n"


def _smoke(measurements: pd.DataFrame, spec: dict[str, Any]) -> str:
    """What may be said of random weights: that everything ran."""
    finite = int(pd.to_numeric(measurements["value"], errors="coerce").notna().sum())
    at = measurements[["variant", "w"]].drop_duplicates()
    return (
        f"# What these numbers show\n\n{spec['experiment']}, {names.scale_name(names.SMOKE)}.\n\nNothing about any method: the "
        f"nets have random weights and the images are made up. They show that every step runs: {len(measurements)} numbers "
        f"of {len(at)} points of {at['variant'].nunique()} variants, {finite} of them finite.\n"
    )


def _methods(f: Findings) -> dict[str, str]:
    """The guided methods that are told one by one, each with no guidance of the same net."""
    if not f.mains:
        return {v: "none" for v in f.variants if v in MAIN}
    return {v: b for v, b in f.guided.items() if names.section(v) == names.METHODS}


def _opening(f: Findings, spec: dict[str, Any]) -> str:
    first = f.rows.iloc[0]
    trainings = f.rows.loc[f.rows["variant"] == "none", "train_seed"].nunique()
    blocks = ", ".join(dict.fromkeys(map(str, f.rows["seed_block"])))
    over = (
        f"Where both points have several trainings (the unguided net has {trainings}), intervals are Student's over trainings"
        if trainings > 1
        else "There is one training of the main net: intervals say how far other samples would land, not other trainings"
    )
    return (
        f"{spec['experiment']}, {names.scale_name(str(spec['scale']))}; {f.steps} sampler steps unless said; "
        f"{int(first['n_generated']):,} images a block, blocks {blocks}, which chose no weight. Each method is told at the "
        f"weight that its FID in the same feature space chose on another block (or at its only weight). {over}. Differences are on common seeds; over "
        "one training their errors are combined as if unpaired, an upper bound. A difference is called clear when its 95 % "
        "interval leaves out 0 and every block agrees in sign; nothing is corrected for the number of comparisons."
    )


def _beats(f: Findings) -> str:
    """Every guided method at its own weight against no guidance, in each feature space."""
    lines = []
    methods = _methods(f)
    for variant in names.ordered(methods):
        told = [words.sentence(f, space, f.gap(methods[variant], variant, space)) for space in f.spaces]
        lines.append(f"- {f.label(variant)}: {' '.join(told)}")
    if not lines:
        return "No guided method was measured."
    for space in f.spaces:
        gaps = [f.gap(base, v, space) for v, base in methods.items()]
        tally = [words.outcome(g) for g in gaps]
        lines.append(
            f"- In all, in {f.space(space)}: {tally.count(summary.BETTER)} of {len(tally)} clearly better than no guidance, "
            f"{tally.count(summary.WORSE)} clearly worse, the rest not told apart."
        )
    return "\n".join(lines)


def _bracketed(f: Findings) -> str:
    """Where the chosen weight lies among those tried, and whether the other blocks agree."""
    lines = []
    methods = _methods(f)
    for variant in names.ordered(v for v in f.swept if v in methods or names.section(v) == names.GUIDES):
        for space in f.spaces:
            lines.append(f"- {f.label(variant)}, {f.space(space)}: {words.bracket(f, variant, space)}")
    head = "By means over these blocks; neighbouring weights need not be told apart by their intervals."
    return "\n".join([head, "", *lines]) if lines else "No method was measured at several weights."


def _rivals(f: Findings) -> str:
    """Autoguidance minus CFG in every feature space: FID, then precision, recall and accuracy."""
    if not f.has("cfg", "autog"):
        return f"{summary.NOT_RUN.capitalize()}: needs both."
    lines, winners = [], {}
    for space in f.spaces:
        gap = f.gap("cfg", "autog", space)
        winners[space] = words.outcome(gap)
        said = {summary.BETTER: "**autoguidance wins**", summary.WORSE: "**CFG wins**"}.get(
            winners[space], "**a draw**"
        )
        more = [
            words.brief(f, m, f.difference("cfg", "autog", space, m))
            for m in ("recall", "precision", "accuracy")
        ]
        lines.append(
            f"- In {f.space(space)}, {said}: {words.fid(f, space)} {words.arrow(f, 'fid@' + space, gap.gap)} from {f.at('cfg', space)} to "
            f"{f.at('autog', space)}. "
            + "".join(f"{text}." for text in ["; ".join(filter(None, more))] if text)
        )
    clear = {w for w in winners.values() if w in (summary.BETTER, summary.WORSE)}
    if len(winners) > 1:
        lines.append(
            "- **The feature space decides which of the two wins.**" if len(clear) == 2
            else "- The feature spaces do not contradict each other on the winner."
        )  # fmt: skip
    cfgs, autogs = f.guides("cfg"), f.guides("autog")
    lines.append(
        f"- Choice: the compared lines have {f.tried('cfg')} and {f.tried('autog')} weights to choose from and one guide each, "
        f"named in params.yaml. Guides tried in all: {cfgs} for CFG, {autogs} for autoguidance; the best of these is not what "
        "is compared here."
    )
    return "\n".join(lines)


def _sums(f: Findings) -> list[tuple[str, tuple[str, ...]]]:
    """Sums of two methods with their parts; where there are several nets, those that were measured, of each."""
    if not f.mains:
        return [*_SUMS, *((both, parts) for both, parts in _MORE_SUMS if both in f.variants)]
    kinds = dict.fromkeys(map(names.suffix, f.variants))
    every = [
        (b + kind, tuple(p + kind for p in parts)) for b, parts in (*_SUMS, *_MORE_SUMS) for kind in kinds
    ]
    return [(both, parts) for both, parts in every if both in f.variants]


def _adds(f: Findings) -> str:
    """Every sum of two methods against either alone, each at its own weight."""
    lines = []
    for both, parts in _sums(f):
        if both not in f.variants:
            lines.append(f"- {f.label(both)}: {summary.NOT_RUN}.")
            continue
        for space in f.spaces:
            gaps = {v: f.gap(v, both, space) for v in parts if v in f.variants}
            outcomes = [words.outcome(g) for g in gaps.values()]
            wins = len(gaps) == 2 and all(o == summary.BETTER for o in outcomes)
            said = "**beats either alone**" if wins else "**is not shown to beat either alone**"
            told = "; ".join(
                f"FID {words.arrow(f, 'fid@' + space, g.gap)} from {f.at(v, space)}: {words.outcome(g)}"
                for v, g in gaps.items()
            )
            lines.append(f"- {f.at(both, space)} {said} in {f.space(space)}: {told or summary.NOT_RUN}.")
    return "\n".join(lines) or f"{summary.NOT_RUN.capitalize()}."


def _against(f: Findings, one: str, others: Iterable[str]) -> str:
    """Each of some variants against one, in every feature space."""
    lines = []
    for variant in others:
        if f.has(one, variant):
            told = [words.sentence(f, space, f.gap(one, variant, space)) for space in f.spaces]
            lines.append(f"- {f.label(variant)} against {f.label(one)}: {' '.join(told)}")
    return "\n".join(lines) or f"{summary.NOT_RUN.capitalize()}."


def _guides(f: Findings) -> str:
    """Every guide of autoguidance against the one of the headline, and the best by the choosing block."""
    rivals = [v for v in f.variants if names.section(v) == names.GUIDES]
    kinds = {k: [v for v in rivals if names.suffix(v) == k] for k in map(names.suffix, rivals)}
    lines = [_against(f, f"autog{k}", mine) for k, mine in kinds.items()] or [
        f"{summary.NOT_RUN.capitalize()}."
    ]
    rivals = kinds.get("", [])
    for space in f.spaces if rivals and "autog" in f.variants else ():
        best = f.best_on_choosing_block(["autog", *rivals], space)
        if best:
            gap = f.gap("none", best, space)
            lines.append(
                f"- Best of these {1 + len(rivals)} by FID on the choosing block, in {f.space(space)}: {f.at(best, space)}, FID "
                f"{words.value(f, 'fid@' + space, gap.gap.after)} on the others."
            )
    return "\n".join(lines)


def _damaged(f: Findings) -> str:
    """Damaged main nets at their weight against themselves unguided and against the healthy net unguided."""
    lines = []
    for variant in ("dropout", "input_noise", "mismatched"):
        if variant not in f.variants:
            lines.append(f"- {f.label(variant)}: {summary.NOT_RUN}.")
            continue
        lines += [
            f"- {f.label(variant)}, {f.space(space)}: {words.repair(f, variant, space)}" for space in f.spaces
        ]
    if "autog_drop" in f.variants:
        told = [words.sentence(f, space, f.gap("none", "autog_drop", space)) for space in f.spaces]
        lines.append(
            f"- The healthy net guided by one weakened by dropout, against no guidance: {' '.join(told)}"
        )
    return "\n".join(lines)


def _agreement(f: Findings) -> str:
    """Whether two feature spaces order the points alike, choose the same weights and reach the same verdicts."""
    if len(f.spaces) < 2:
        return "One feature space only: nothing to compare."
    a, b = f.spaces[:2]
    rank, points = f.rank_correlation(a, b)
    lines = [
        f"- Rank correlation (Spearman) of FID in the two over {points} points at {f.steps} steps: {rank:.2f}; recall: "
        f"{f.rank_correlation(a, b, 'recall')[0]:.2f}."
    ]
    apart = [v for v in f.swept if f.weight(v, a) != f.weight(v, b)]
    said = "; ".join(f"{f.label(v)} ({f.weight(v, a):g} and {f.weight(v, b):g})" for v in apart)
    lines.append(
        f"- Weights chosen apart in {len(apart)} of {len(f.swept)} sweeps{': ' + said if said else ''}."
    )
    bases = f.guided if f.mains else {v: "none" for v in f.variants if v != "none"}
    pairs = {v: tuple(words.outcome(f.gap(base, v, s)) for s in (a, b)) for v, base in bases.items()}
    against = [v for v, pair in pairs.items() if set(pair) == {summary.BETTER, summary.WORSE}]
    same = sum(one == two for one, two in pairs.values())
    lines.append(
        f"- Verdicts against no guidance agree in {same} of {len(pairs)} variants and contradict each other in {len(against)}"
        f"{': ' + '; '.join(f.label(v) for v in against) if against else ''}."
    )
    return "\n".join(lines)


def _variants(f: Findings, part: pd.DataFrame) -> str:
    return "; ".join(f.label(v) for v in names.ordered(part["variant"]))
