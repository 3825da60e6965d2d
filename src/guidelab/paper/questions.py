# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The questions that the findings answer, as data: which points are compared, by which metrics, and what a paper states of it.

Of an experiment those are answered whose rows were measured; see `answers` for how. Fixed text is only what the papers
state, of their own data: every statement about an experiment is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from guidelab.paper.names import DEGRADED, GUIDES, METHODS

# A side of a comparison is a variant (at its own weight), a point such as `cfg/w4.00`, a section (each of its guided variants), or:
BASE = "no guidance of the same net"
SELF = "itself unguided"
MAIN = "the metric that chose the weight"
CHOSEN, COMMON = "own", "common"  # weights
COMPARED, BRACKET, COURSE, AGREEMENT = "compared", "bracket", "course", "agreement"  # ways to answer


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        heading: as printed.
        pairs: what is compared, before and after.
        metrics: of the comparison; those that were not measured are left out.
        expected: metric to `down`, `up` or `same`: what a paper's figure suggests.
        claim: what a paper states.
        at: CHOSEN, each variant at its own weight; COMMON, at the weight nearest to 2 that all have.
        answer: the way to answer: COMPARED, or of curves over the weight and of feature spaces BRACKET, COURSE, AGREEMENT.
        closing: names of functions of `closings` that add lines.
    """

    heading: str
    pairs: tuple[tuple[str, str], ...] = ()
    metrics: tuple[str, ...] = (MAIN, "recall", "outliers_99")
    expected: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""
    at: str = CHOSEN
    answer: str = COMPARED
    closing: tuple[str, ...] = ()


def _figure1(point: str, label: str, claim: str, **expected: str) -> Question:
    """A panel of figure 1 of arXiv:2406.02507, whose caption and picture suggest a claim."""
    return Question(
        f"Figure 1 of the paper: {label}", ((BASE, point),), tuple(expected), expected,
        f"*The figure suggests (arXiv:2406.02507):* {claim}.",
    )  # fmt: skip


QUESTIONS = (
    _figure1("autog/w3.00", "autoguidance at w = 3", "no sample lies outside the class's region, and every branch is visited",
        outliers_99="down", recall="same", mass_covered="same", branches_empty="same"),
    _figure1("cfg/w4.00", "CFG at w = 4", "no sample lies outside the class's region, and many branches are empty",
        outliers_99="down", recall="down", mass_covered="down", branches_empty="up"),
    _figure1("truncation/w1.40", "naive truncation, ×1.4", "no sample lies outside the class's region, and the leaves are empty",
        outliers_99="down", leaf_mass="down", branches_empty="up"),
    Question("Does each method beat no guidance?", ((BASE, METHODS),), closing=("tally",)),
    Question("Is the best weight above neutral, and bracketed?", ((BASE, METHODS), (BASE, GUIDES)), answer=BRACKET,
        claim="By means over these blocks; the intervals of neighbouring weights may overlap."),
    Question("How does the divergence from the data run over the weight?", ((BASE, METHODS),), ("kl",), answer=COURSE,
        claim="KL(data‖model) punishes lost diversity."),
    Question("CFG or autoguidance?", (("cfg", "autog"),), (MAIN, "recall", "precision", "accuracy", "outliers_99"),
        closing=("winner", "effort")),
    Question("DG or autoguidance?", (("autog", "dg"), ("autog/w3.00", "dg/w1.00")),
        (MAIN, "recall", "precision", "accuracy", "outliers_99", "mass_covered", "branches_empty", "js"),
        claim="In two dimensions also at the weights of the papers: 3 in figure 1 of arXiv:2406.02507, 1 in the theory of arXiv:2211.17091."),
    Question("Do sums of methods beat either alone?",
        (("autog", "dg_autog"), ("dg", "dg_autog"), ("cfg", "dg_cfg"), ("dg", "dg_cfg"), ("cfg", "cfg_autog"), ("autog", "cfg_autog"),
         ("cg", "cg_dg"), ("dg", "cg_dg"), ("cfg", "cfg_dg"), ("dg", "cfg_dg"), ("cg", "cg_autog"), ("autog", "cg_autog")),
        (MAIN,), closing=("sums",)),
    Question("Variants of conditional guidance against CFG", (("cfg", "cfg_interval"), ("cfg", "cfg_apg"), ("cfg", "icg"), ("cfg", "cg"))),
    Question("Variants of discriminator guidance against DG", (("dg", "dg_first"), ("dg", "dg_boost"), ("dg", "dg_frozen"))),
    Question("Which weakness of the guide helps?", (("autog", GUIDES),), closing=("best_guide",),
        claim="*The paper:* a guide that is both smaller and trained for less time is best; each alone helps less."),
    Question("Guides at one weight against no guidance", ((BASE, "autog"), (BASE, GUIDES)), at=COMMON, closing=("fewest_outliers",)),
    Question("Does guidance repair or improve a damaged net?", ((SELF, DEGRADED), ("none", DEGRADED), ("none", "autog_drop")),
        claim="*The paper (arXiv:2406.02507, section 4, FID of EDM2-S on ImageNet-512):* a net that is damaged (5 % dropout, or 10 % input noise), "
        "and guided by itself damaged more (10 %, 20 %), gets about as good as the undamaged net, not better; with different kinds of "
        "damage guidance does not help at any weight; and making a guide of a healthy net by dropout or noise did not work."),
    Question("Do the feature spaces agree?", ((BASE, METHODS), (BASE, GUIDES), (BASE, DEGRADED)), ("fid", "recall"), answer=AGREEMENT),
)  # fmt: skip
