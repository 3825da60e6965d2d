import pandas as pd
import pytest
from paper_cases import measured, selected, toy

from guidelab.paper.evidence import Change, change
from guidelab.paper.story import text
from guidelab.paper.verdicts import against, course, sentence


def section(story: str, heading: str) -> str:
    return next(part for part in story.split("\n## ") if part.startswith(heading))


def test_sentences_come_from_the_numbers():
    story = text(toy(), selected(("autog", 2.0)))
    ag = section(story, "autoguidance, w = 3")
    assert "Outliers fell in 3 of 3 trainings (13.0 % → 8.3 %" in ag
    assert "**As in the picture**." in ag
    assert "Recall fell in 3 of 3 trainings (0.97 → 0.75" in ag and "**Not as in the picture**" in ag
    assert "scaled down (reduced); 3 trainings" in story and "report1, report2" in story


def test_the_story_flips_when_the_numbers_flip():
    rows = toy()
    swapped = rows.assign(
        variant=rows["variant"].where(
            rows["w"] == 2.0, rows["variant"].map({"none": "autog", "autog": "none"})
        ),
        w=rows["w"].map({1.0: 3.0, 3.0: 1.0, 2.0: 2.0}),
    )
    ag = section(text(swapped, selected(("autog", 2.0))), "autoguidance, w = 3")
    assert (
        "Outliers rose in 3 of 3 trainings (8.3 % → 13.0 %" in ag and "**The opposite of the picture**" in ag
    )


def test_divergence_course_and_its_flip():
    rows = toy()
    assert "autoguidance: rises at every step of w" in text(rows, selected(("autog", 2.0)))
    down = rows.copy()
    kl = down["metric"] == "kl"
    down.loc[kl & (down["w"] == 2.0), "value"] -= 0.35
    assert "autoguidance: is lowest at w = 2" in text(down, selected(("autog", 2.0)))
    assert course([3, 2, 1], [None, 1.5, 2.0]) == "falls at every step of w"
    assert course([1, 2, 1.5], [None, 1.5, 2.0]) == "is lowest without guidance"


def test_absent_rows_say_not_run():
    story = text(toy(), selected(("autog", 2.0)))
    assert "Here: not run." in section(story, "CFG, w = 4")
    assert "Empty branches: not run." in section(story, "autoguidance, w = 3").replace("empty", "Empty")
    assert section(story, "Does guidance repair").count("not run") == 3
    assert "not run" in section(story, "Which weakness helps?")
    assert "discriminator (DG): not run." in section(story, "At the chosen weights")


def degraded(after: float) -> pd.DataFrame:
    points = {
        ("none", 1.0): {"outliers_99": [0.10], "recall": [0.97]},
        ("dropout", 1.0): {"outliers_99": [0.20], "recall": [0.90]},
        ("dropout", 2.25): {"outliers_99": [after], "recall": [0.80]},
    }
    return measured(points)


@pytest.mark.parametrize(
    ("after", "moved", "end"), [(0.08, "fell", "fewer"), (0.15, "fell", "more"), (0.3, "rose", "more")]
)
def test_repair_of_a_degraded_net(after, moved, end):
    part = section(
        text(degraded(after), selected(("dropout", 2.25), by="outliers_99")), "Does guidance repair"
    )
    assert f"Outliers {moved} (20.0 % → {100 * after:.1f} %; one training)" in part
    assert f"the guided degraded net has {end}" in part


def test_no_guidance_as_the_best_weight():
    part = section(text(degraded(0.3), selected(("dropout", 1.0), by="outliers_99")), "Does guidance repair")
    assert "the best weight, by outliers, is 1: no guidance" in part


def test_flagged_numbers_are_listed_and_not_told():
    rows = toy()
    rows.loc[(rows["metric"] == "kl") & (rows["w"] == 3.0), "note"] = "not estimable: 4 effective of 9 points"
    story = text(rows, selected(("autog", 2.0)))
    (line,) = [x for x in section(story, "What could not").splitlines() if x.startswith("| KL")]
    assert [c.strip() for c in line.strip("|").split("|")] == [
        "KL(data‖model)",
        "not estimable",
        "6",
        "autoguidance, w = 3",
    ]
    assert "<details><summary>6 numbers of" in story and story.rstrip().endswith("</details>")
    assert "at w = 3)" not in section(story, "Divergence")


def test_pairs_use_common_trainings_only():
    rows = toy()
    rows = rows[(rows["seed_block"] != "select") & ~((rows["variant"] == "none") & (rows["train_seed"] == 2))]
    c = change(rows, ("none", 1.0), ("autog", 3.0), "kl")
    assert c is not None and c.n == 2 and c.before == pytest.approx(0.25) and c.after == pytest.approx(0.95)
    assert (c.lo, c.hi) == pytest.approx((0.7, 0.7)) and c.up == 2
    assert change(rows, ("none", 1.0), ("cfg", 4.0), "kl") is None


MIXED = Change(before=0.10, after=0.09, down=2, up=1, n=3, lo=-0.03, hi=0.01)


def test_verdicts():
    assert sentence("outliers_99", MIXED).startswith(
        "Outliers fell in 2 and rose in 1 of 3 trainings (10.0 % → 9.0 %"
    )
    assert against("down", MIXED) == "**As in the picture in 2 of 3 trainings only**."
    assert "no clear change" in against("same", MIXED)
    assert against("up", Change(1, 0, 3, 0, 3, -2, -0.5)) == "**The opposite of the picture**."
    assert "holds 0" in against("down", Change(1, 0, 3, 0, 3, -2, 0.5))
    assert against("down", Change(1, 0, 1, 0, 1, float("nan"), float("nan"))).endswith("in this training.")
