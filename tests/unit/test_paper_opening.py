# ruff: noqa: RUF001 - true minus signs are what readers see
"""The sentences that open the findings: computed, quotable, and other ones when the numbers are others."""

import image_cases as images
import paper_cases as points
import pytest

from guidelab.io import save_arrays, write_csv
from guidelab.jobs import findings as findings_job
from guidelab.paper.opening import sentences


def of_points(rows=None):
    rows = points.toy() if rows is None else rows
    return sentences(rows, points.selected(("autog", 2.0)), points.INFO, points.SPEC)


def of_images(rows):
    return sentences(rows, images.chosen(rows), images.INFO, images.SPEC)


def test_points_have_the_scope_and_a_sentence_for_each_metric_with_effect_interval_and_trainings():
    scope, recall, outliers, kl = of_points()
    assert scope.startswith("toy2d, scaled down (reduced): 1 variant") and "3 trainings" in scope
    assert (
        "By outliers, autoguidance at w = 2 (the smallest tried) improves most on no guidance: 13.0 → 10.3 %, difference −2.7"
        in outliers
    )
    assert (
        "(95 % interval over 3 trainings); of 1 variant 1 is clearly better and 0 clearly worse" in outliers
    )
    assert (
        recall
        == "By recall, no variant improves on no guidance: of 1 variant 0 are clearly better and 1 clearly worse."
    )
    assert kl.startswith("By KL(data‖model), no variant improves")


def test_the_sentence_flips_with_the_numbers():
    rows = points.toy()
    outliers = (rows["metric"] == "outliers_99") & (rows["variant"] == "autog")
    rows.loc[outliers, "value"] += 0.2
    (said,) = [s for s in of_points(rows) if s.startswith("By outliers")]
    assert said.startswith("By outliers, no variant improves") and "1 clearly worse" in said


def test_every_feature_space_has_its_own_sentence_at_the_weight_it_chose():
    said = of_images(images.images())
    assert 3 <= len(said) <= 6
    (lite0,) = [s for s in said if s.startswith("By FID in Lite0 features")]
    assert "DG + autoguidance at w = 2 improves most" in lite0 and "over the samples of one training" in lite0
    (classifier,) = [s for s in said if s.startswith("By FID in classifier features")]
    assert "DG + CFG at w = 2 improves most" in classifier
    assert any("over 3 trainings" in s for s in of_images(images.images(3)))


@pytest.mark.parametrize("scale", ["reduced", "smoke"])
def test_the_findings_open_with_these_sentences_and_those_of_a_smoke_test_with_none(tmp_path, scale):
    rows = images.images().assign(scale=scale)
    given = {"measurements": rows, "selected": images.chosen(rows), "metrics": images.INFO}
    for name, frame in given.items():
        write_csv(tmp_path / f"{name}.csv", frame)
    spec = images.SPEC | {"scale": scale, "inputs": {n: [str(tmp_path / f"{n}.csv")] for n in given}}
    spec["inputs"]["errors"] = [str(tmp_path / "errors.safetensors")]
    save_arrays(spec["inputs"]["errors"][0], {}, {"points": {}})
    findings_job.run(spec, [tmp_path / "out.md"])
    text = (tmp_path / "out.md").read_text()
    before = text.split("\n## ")[0]
    assert ("By FID in Lite0 features" in before) == (scale == "reduced")
    assert (before.count("\n\nBy ") >= 3) == (scale == "reduced")
