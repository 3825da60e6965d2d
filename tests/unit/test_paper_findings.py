# ruff: noqa: RUF001 - true minus signs are what readers see
"""The findings of points: every sentence follows the numbers, and questions without rows have no section."""

import pandas as pd
import pytest
from paper_cases import INFO, SPEC, measured, selected, toy

from guidelab.paper import findings, questions
from guidelab.paper.evidence import Evidence, Point
from guidelab.paper.summary import Difference
from guidelab.paper.wording import course, picture, trainings


def text(rows: pd.DataFrame, chosen: pd.DataFrame) -> str:
    return findings.text(rows, chosen, INFO, SPEC)


def section(whole: str, heading: str) -> str:
    return next(part for part in whole.split("\n## ") if part.startswith(heading))


FIGURE = "Figure 1 of the paper: autoguidance"


def test_sentences_come_from_the_numbers():
    made = text(toy(), selected(("autog", 2.0)))
    ag = section(made, FIGURE)
    assert "Outliers: 13.0 % → 8.3 % (difference −4.7 points" in ag
    assert "fell in 3 of 3 trainings). **As in the figure**." in ag
    assert "Recall: 0.970 → 0.750" in ag and "**Not as in the figure**" in ag
    assert "scaled down (reduced); 32 sampler steps" in made and "has 3 trainings" in made
    assert "blocks report1, report2 of up to 4,096 samples, which chose no weight" in made


def test_the_findings_flip_when_the_numbers_flip():
    rows = toy()
    swapped = rows.assign(
        variant=rows["variant"].where(
            rows["w"] == 2.0, rows["variant"].map({"none": "autog", "autog": "none"})
        ),
        w=rows["w"].map({1.0: 3.0, 3.0: 1.0, 2.0: 2.0}),
        method=rows["method"].where(rows["w"] == 2.0, rows["method"].map({"": "reference", "reference": ""})),
    )
    ag = section(text(swapped, selected(("autog", 2.0))), FIGURE)
    assert "8.3 % → 13.0 %" in ag and "rose in 3 of 3 trainings). **The opposite of the figure**" in ag


def test_a_method_at_its_chosen_weight_against_no_guidance():
    part = section(text(toy(), selected(("autog", 2.0))), "Does each method beat")
    assert (
        "- autoguidance: At w = 2 (chosen by KL(data‖model), the smallest tried), **worse**: KL(data‖model) 0.30 → 0.50"
        in part
    )
    assert "recall clearly lower, 0.970 → 0.900" in part
    assert (
        "In all: 0 of 1 variant clearly better than no guidance, 1 clearly worse, the others neither." in part
    )


@pytest.mark.parametrize(
    ("recall", "said"), [(0.96, "recall clearly higher"), (0.60, "recall clearly lower")]
)
def test_dg_or_autoguidance_at_weights_of_their_own_and_of_the_papers(recall, said):
    levels = {
        "kl": [0.25, 0.26, 0.27],
        "recall": [recall, recall + 0.01, recall],
        "outliers_99": [0.08, 0.08, 0.09],
    }
    dg = measured({("dg", 0.5): levels, ("dg", 1.0): levels}).assign(
        method="discriminator", ref="guide", w_neutral=0.0
    )
    rows = pd.concat([toy(), dg], ignore_index=True)
    part = section(text(rows, selected(("autog", 2.0), ("dg", 0.5))), "DG or autoguidance?")
    own, papers = [line for line in part.splitlines() if " against autog" in line]
    assert "At w = 0.5 (chosen by KL(data‖model)) against w = 2 (the smallest tried), **better**" in own
    assert "At w = 1 against w = 3" in papers and f"{said}, 0.75" in papers
    assert "outliers no clear change, 8.3 %" in papers
    alone = section(text(rows, selected(("autog", 2.0), ("dg", 0.5), of=1)), "DG or autoguidance?")
    assert "**better**" not in alone.splitlines()[4]


def test_divergence_course_and_its_flip():
    rows = toy()
    heading = "How does the divergence"
    assert "autoguidance: KL(data‖model) rises at every step of w (0.30 without guidance; 0.50 at w = 2, 1.00 at w = 3)" in section(
        text(rows, selected(("autog", 2.0))), heading
    )  # fmt: skip
    down = rows.copy()
    down.loc[(down["metric"] == "kl") & (down["w"] == 2.0), "value"] -= 0.35
    assert "is lowest at w = 2" in section(text(down, selected(("autog", 2.0))), heading)
    assert course([(None, 3), (1.5, 2), (2.0, 1)]) == "falls at every step of w"
    assert course([(None, 1), (1.5, 2), (2.0, 1.5)]) == "is lowest without guidance"


def test_a_question_without_rows_has_no_section_and_is_listed():
    made = text(toy(), selected(("autog", 2.0)))
    assert "CFG at w = 4" not in made and "branches empty" not in made.lower()
    listed = made.rstrip().splitlines()[-1]
    assert listed.startswith("Not measured here, so without an answer: ")
    absent = [
        q.heading.rstrip("?") for q in questions.QUESTIONS if f"## {q.heading}" not in made and not q.expected
    ]
    assert "CFG or autoguidance" in absent and all(name in listed for name in absent)
    assert not any(f"## {name}" in made for name in absent)


def test_every_closing_of_a_question_is_known():
    from guidelab.paper.closings import CLOSINGS

    used = {name for q in questions.QUESTIONS for name in q.closing}
    assert used == set(CLOSINGS)


def degraded(after: float) -> pd.DataFrame:
    return measured(
        {
            ("none", 1.0): {"outliers_99": [0.10], "recall": [0.97]},
            ("dropout", 1.0): {"outliers_99": [0.20], "recall": [0.90]},
            ("dropout", 2.25): {"outliers_99": [after], "recall": [0.80]},
        }
    )


@pytest.mark.parametrize(
    ("after", "itself", "healthy"),
    [(0.06, "better", "better"), (0.15, "better", "worse"), (0.3, "worse", "worse")],
)
def test_repair_of_a_degraded_net(after, itself, healthy):
    made = text(degraded(after), selected(("dropout", 2.25), by="outliers_99"))
    first, second, *_ = [x for x in section(made, "Does guidance repair").splitlines() if x.startswith("- ")]
    assert (
        f"against itself unguided: At w = 2.25 (chosen by outliers, the largest tried), **{itself}**: outliers 20.0 % → {100 * after:.1f} %"
        in first
    )
    assert "one training" in first
    assert (
        f"against no guidance: At w = 2.25 (chosen by outliers, the largest tried), **{healthy}**: outliers 10.0 %"
        in second
    )


def test_no_guidance_as_the_best_weight():
    made = text(degraded(0.3), selected(("dropout", 1.0), by="outliers_99"))
    part = section(made, "Does guidance repair")
    assert "The best weight is 1, no guidance. At w = 2.25, **worse**: outliers 20.0 % → 30.0 %" in part


def test_flagged_numbers_are_listed_and_enter_no_sentence():
    rows = toy()
    rows.loc[(rows["metric"] == "kl") & (rows["w"] == 3.0), "note"] = "not estimable: 4 effective of 9 points"
    made = text(rows, selected(("autog", 2.0)))
    (line,) = [x for x in section(made, "What could not").splitlines() if x.startswith("| KL")]
    assert [c.strip() for c in line.strip("|").split("|")] == [
        "KL(data‖model)",
        "not estimable",
        "6",
        "autoguidance, w = 3",
    ]
    assert "<details><summary>6 numbers of" in made and "</details>" in made
    assert "at w = 3" not in section(made, "How does the divergence")


def test_a_comparison_without_a_sound_number_says_so():
    rows = toy()
    rows.loc[(rows["metric"] == "kl") & (rows["w"] == 2.0), "note"] = "not estimable: x"
    rows.loc[(rows["metric"] == "kl") & (rows["w"] == 3.0), "note"] = "not estimable: x"
    made = text(rows, selected(("autog", 2.0)))
    assert "KL(data‖model): no sound number; recall clearly lower" in section(made, "Does each method beat")
    assert "- autoguidance: no sound number." in section(made, "How does the divergence")


def test_pairs_use_common_trainings_only():
    rows = toy()
    rows = rows[~((rows["variant"] == "none") & (rows["train_seed"] == 2))]
    f = Evidence(rows, selected(("autog", 2.0)), INFO)
    d = f.difference(Point("none", 1.0), Point("autog", 3.0), "kl")
    assert d.n_trainings == 2 and d.before == pytest.approx(0.25) and d.after == pytest.approx(0.95)
    assert d.value == pytest.approx(0.7) and d.lo < d.value < d.hi and (d.down, d.up) == (0, 2)
    assert f.difference(Point("none", 1.0), Point("cfg", 4.0), "kl").n_trainings == 0


def moved(down: int, up: int, lo: float, hi: float, n: int = 3) -> Difference:
    return Difference(value=-0.01, lo=lo, hi=hi, n_trainings=n, before=0.10, after=0.09, down=down, up=up)


def test_agreement_with_a_figure():
    mixed = moved(2, 1, -0.03, 0.01)
    assert trainings(mixed) == "fell in 2 and rose in 1 of 3 trainings"
    assert picture("down", mixed) == "**As in the figure in 2 of 3 trainings only**."
    assert "no clear change" in picture("same", mixed)
    assert picture("up", moved(3, 0, -2, -0.5)) == "**The opposite of the figure**."
    assert picture("up", moved(3, 0, -2, 0.5)) == "**The opposite of the figure**."
    assert picture("same", moved(3, 0, -2, -0.5)).startswith("**Not as in the figure**")
    assert "holds 0" in picture("down", moved(3, 0, -2, 0.5))
    one = moved(1, 0, float("nan"), float("nan"), n=1)
    assert picture("down", one).endswith("in this training.") and trainings(one) == "one training"
