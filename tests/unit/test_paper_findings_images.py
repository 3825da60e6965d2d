# ruff: noqa: RUF001 - true minus signs are what readers see
import pytest
from image_cases import AUTOG, BOTH, CFG, INFO, SPEC, chosen, images

from guidelab.paper import findings
from guidelab.paper.evidence import Evidence, View
from guidelab.paper.wording import bracket, value


def told(rows) -> str:
    return findings.text(rows, chosen(rows), INFO, SPEC)


def section(text: str, heading: str) -> str:
    return next(part for part in text.split("\n## ") if part.startswith(heading))


ROWS = images()
TEXT = told(ROWS)


def test_methods_against_no_guidance_in_both_spaces():
    part = section(TEXT, "Does each method beat")
    assert "- autoguidance: In Lite0 features at w = 2, **better**: FID 416 → 180 (difference −236" in part
    assert "In classifier features at w = 2, **better**: FID 7.91 → 2.59" in part
    assert "recall clearly higher, 0.323 → 0.562 (difference 0.239" in part
    assert (
        "13 of 13 variants clearly better than no guidance, 0 clearly worse (13 of these by one training)"
        in part
    )


def test_verdicts_flip_with_the_numbers():
    worse = told(images(cfg=("reference", "blind", CFG, 1.0, (1.5, 500, 0.2), (1.5, 9.5, 0.7))))
    part = section(worse, "Does each method beat")
    assert (
        "- CFG: In Lite0 features at w = 1.5 (the smallest tried), **worse**" in part
        and "12 of 13 variants clearly better" in part
    )
    assert "1 clearly worse" in part


def test_the_feature_space_decides_between_cfg_and_autoguidance():
    part = section(TEXT, "CFG or autoguidance?")
    assert "**Autoguidance wins** in Lite0 features" in part and "**CFG wins** in classifier features" in part
    assert "accuracy clearly lower, 90.9 % → 89.1 %" in part
    assert "**The feature space decides which of the two wins.**" in part
    assert "4 and 4 weights" in part and "1 for CFG, 7 for autoguidance" in part
    both = section(
        told(images(autog=("reference", "main_t8", AUTOG, 1.0, (2.0, 178, 0.5), (2.0, 0.6, 0.8)))),
        "CFG or auto",
    )
    assert both.count("**Autoguidance wins**") == 2 and "do not contradict" in both


def test_what_discriminator_guidance_adds():
    part = section(TEXT, "Do sums of methods")
    assert "DG + autoguidance, w = 2 **beats either alone** in Lite0 features" in part
    assert (
        "**is not shown to beat either alone** in classifier features" in part
    )  # DG + CFG, within its interval
    worse = images(
        dg_autog=("reference+discriminator", "main_t8+dg", BOTH, 1.0, (2.0, 200, 0.5), (2.0, 3.5, 0.8))
    )
    part = section(told(worse), "Do sums of methods")
    assert part.count("DG + autoguidance, w = 2 **is not shown") == 2


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (2.0, "w = 2 of 1.5, 2, 2.5, 3, above the neutral 1; **bracketed**: FID is higher at a smaller"),
        (1.5, "**bracketed**: FID is higher without guidance and at a larger weight"),
        (3.0, "**not bracketed**: it is the largest weight tried"),
    ],
)
def test_brackets(best, said):
    rows = images(cfg=("reference", "blind", CFG, 1.0, (best, 211, 0.45), (best, 1.4, 0.8)))
    assert said in bracket(Evidence(rows, chosen(rows), INFO, {}), "cfg", View("lite0"))


def test_a_sum_has_no_unguided_end():
    rows = images(
        dg_autog=("reference+discriminator", "main_t8+dg", BOTH, 1.0, (1.5, 165, 0.5), (1.5, 2.2, 0.8))
    )
    said = bracket(Evidence(rows, chosen(rows), INFO, {}), "dg_autog", View("lite0"))
    assert "**not bracketed**: it is the smallest weight tried" in said


def test_variants_of_a_method_against_it():
    part = section(TEXT, "Variants of discriminator guidance")
    assert (
        "- DG, first stage against discriminator (DG): In Lite0 features at w = 2 (the only one tried) against w = 2, FID clearly higher,"
        in part
    )
    assert "CFG, interval against CFG" in section(TEXT, "Variants of conditional guidance")


def test_damaged_nets():
    part = section(TEXT, "Does guidance repair")
    assert (
        "- dropout in both against itself unguided: In Lite0 features at w = 2 (the largest tried), **better**: FID 550"
        in part
    )
    assert (
        "- dropout in both against no guidance: In Lite0 features at w = 2 (the largest tried), **worse**: FID 416"
        in part
    )
    said = "- dropout, guide input noise against itself unguided: The best weight is 1, no guidance. In Lite0"
    assert said in part
    assert "input noise in both" not in part
    assert "- guide: trained with dropout against no guidance: In Lite0 features" in part


def test_guides_and_the_best_of_them():
    part = section(TEXT, "Which weakness")
    assert (
        "guide: smaller against autoguidance: In Lite0 features at w = 1.5 against w = 2, **worse**" in part
    )
    assert "Best of these 7 by FID on the choosing block in Lite0 features: autoguidance, w = 2" in part


def test_agreement_of_the_spaces():
    part = section(TEXT, "Do the feature spaces agree?")
    assert "Rank correlation (Spearman) of FID" in part and "classifier guidance (CG) (1 and 2)" in part
    assert "contradict each other in 0" in part
    torn = images(icg=("independent", "", CFG, 1.0, (1.5, 300, 0.4), (1.5, 14.0, 0.7)))
    assert "contradict each other in 1: independent condition (ICG)" in section(told(torn), "Do the feature")


def test_questions_about_absent_variants_are_listed_and_not_answered():
    gone = dict.fromkeys(("cfg", "dg_autog", "dg_cfg", "dropout", "autog_t4", "autog_drop"))
    text = told(images(**gone))
    listed = text.rstrip().splitlines()[-1]
    assert "CFG or autoguidance" in listed and "Do sums of methods beat either alone" in listed
    assert "## CFG or autoguidance" not in text and "## Do sums" not in text
    assert "dropout in both" not in section(text, "Does guidance repair")
    assert "trained with dropout" not in text and "1/4 of training" not in text


def test_what_intervals_run_over_is_said():
    assert "There is one training of the main net" in TEXT and "upper bound" in TEXT
    assert (
        "scaled down (reduced); 12 sampler steps" in TEXT
        and "report1, report2 of up to 1,000 samples, which chose no weight" in TEXT
    )
    assert "Student's over trainings" in told(images(3))


def test_flagged_numbers_are_listed():
    rows = images()
    rows.loc[(rows["variant"] == "cfg") & (rows["metric"] == "kid@lite0"), "note"] = "not estimable: x"
    (line,) = [x for x in section(told(rows), "What could not").splitlines() if x.startswith("| KID")]
    assert [c.strip() for c in line.strip("|").split("|")] == [
        "KID in Lite0 features",
        "not estimable",
        "8",
        "CFG",
    ]
    assert "Everything measured was estimable." in TEXT


def test_values_have_the_digits_their_size_allows():
    info = Evidence(ROWS, chosen(ROWS), INFO, {}).info
    assert [value(info["fid@lite0"], x) for x in (416.3, 41.63, 4.163)] == ["416", "41.6", "4.16"]
    assert value(info["accuracy@classifier"], 0.9213) == "92.1 %"
