"""Real data used as samples: points of a fold, what is planned of them, and the floor that every table prints."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from image_cases import INFO, SPEC, chosen, images

from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.paper import columns, findings, opening, table
from guidelab.paper.sheets import to_markdown
from guidelab.plan.plan import Plan
from guidelab.sampling.real_points import RealPoints
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def with_real(floor: float = 130.0) -> pd.DataFrame:
    """Rows of image experiments and those of real images: one block, no evaluation of a net."""
    rows = images()
    real = rows[(rows["variant"] == "none") & (rows["seed_block"] == "report1")].assign(variant="real", nfe=0)
    real.loc[real["metric"] == "fid@lite0", "value"] = floor
    found = pd.concat([rows, real], ignore_index=True)
    return found.assign(n_features=found["features"].map({"lite0": 1280, "classifier": 192}))


def test_points_of_a_fold_stand_in_the_place_of_samples(tmp_path):
    fold, out = tmp_path / "fold", tmp_path / "samples"
    save_arrays(fold, {"x": torch.arange(20.0).view(10, 2)}, {})
    job = {
        "variant": "real", "terms": [], "sampler": {}, "code": "c", "train_seeds": [0, 1],
        "blocks": {"a": [100, 103], "b": [7, 9]}, "inputs": {"points": [str(fold)]},
    }  # fmt: skip
    RealPoints().save(job, out, None)
    found, about = load_arrays(out)
    for seed in (0, 1):
        assert torch.equal(found[f"seed{seed}/a/x"], torch.arange(8.0).view(4, 2))
        assert torch.equal(found[f"seed{seed}/b/x"], torch.arange(8.0, 14.0).view(3, 2))
    assert about["blocks"] == job["blocks"] and about["nets_sha256"] == {}
    with pytest.raises(UserError, match=r"its blocks want 13 points, but .*fold holds 10"):
        RealPoints().save(job | {"blocks": {"a": [0, 5], "b": [0, 6]}}, out, None)


def test_every_default_experiment_measures_held_out_data_like_samples(plan):
    for name, fold in (
        ("toy2d", "holdout.safetensors"),
        ("fashion", "holdout.zip"),
        ("fashion_full", "holdout.zip"),
    ):
        (names,) = [run.names for run in plan.experiment(name).runs if run.variant == "real"]
        sample, measure = (plan.job(rule, name, *names) for rule in ("sample", "measure"))
        (inputs,) = sample.inputs.values()
        assert inputs == (f"results/{name}/data/{fold}",)
        assert measure.spec["real"] == "holdout" and list(measure.spec["blocks"]) == ["report1"]
        assert not any(key.startswith("density") for key in measure.inputs)
    assert not [names for names in plan.experiment("toy2d").planned("density") if names[0] == "real"]


def test_the_floor_is_a_row_of_the_table_and_a_sentence_and_enters_no_verdict():
    rows = with_real()
    made = table.make_table(rows, chosen(rows), INFO, None, SPEC)
    text = to_markdown(made)
    row = next(line for line in text.splitlines() if line.startswith("| real "))
    assert "130" in row and not any(sign in row for sign in "⁺⁻")
    assert "Real data: held-out examples in the place of samples, one block of as many" in text
    assert (
        "FID, Lite0: 1,000 samples for 1,280 features; FID, classifier: 1,000 samples for 192 features"
        in text
    )
    wide = columns.wide(made)[0].set_index("variant")
    assert set(wide["fid@lite0 features"]) == {1280}
    said = opening.sentences(rows, chosen(rows), INFO, SPEC)
    assert any(
        one.startswith("Real data in the place of as many samples have FID in")
        and "Lite0 features 130" in one
        for one in said
    )
    bare = findings.text(images(), chosen(images()), INFO, SPEC)
    assert findings.text(rows, chosen(rows), INFO, SPEC).split("\n## ")[1:] == bare.split("\n## ")[1:]
