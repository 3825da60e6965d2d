"""Choosing a weight: on its own block, in the metric's direction, and never from numbers that do not exist."""

import itertools

import pandas as pd
import pytest

from guidelab.errors import UserError
from guidelab.io import read_csv, save_arrays, write_csv
from guidelab.jobs.collect import run as collect
from guidelab.paper.select import flatten, select

INFO = pd.DataFrame({"metric": ["js", "frechet", "recall"], "direction": ["lower", "lower", "higher"]})


def rows(values, variant="cfg", metric="js"):
    """`values[w] = (on the selecting block, on the reporting block)`, the same for two trainings."""
    return pd.DataFrame(
        [
            {
                "experiment": "e",
                "variant": variant,
                "w": w,
                "train_seed": seed,
                "seed_block": block,
                "metric": metric,
            }
            | {"value": v + 0.001 * seed, "code": "c"}
            for w, pair in values.items()
            for (block, v), seed in itertools.product(zip(("select", "report1"), pair, strict=True), (0, 1))
        ]
    )


def chosen(table, metrics=("js", "frechet")):
    return select(table, INFO, block="select", metrics=list(metrics)).set_index("variant")["w"].to_dict()


def test_the_selecting_block_decides_and_the_reporting_blocks_do_not():
    assert chosen(rows({1.5: (0.2, 0.9), 2.0: (0.3, 0.1)})) == {"cfg": 1.5}


def test_direction_comes_from_the_metric():
    table = rows({1.5: (0.2, 0.2), 2.0: (0.3, 0.3)}, metric="recall")
    assert chosen(table, ["recall"]) == {"cfg": 2.0}


def test_the_first_metric_that_exists_decides():
    table = pd.concat(
        [
            rows({1.0: (float("nan"), 0.0), 1.5: (float("nan"), 0.0)}),
            rows({1.0: (0.5, 0.0), 1.5: (0.4, 0.0)}, metric="frechet"),
        ]
    )
    found = select(table, INFO, block="select", metrics=["js", "frechet"])
    assert list(found["metric"]) == ["frechet"] and list(found["w"]) == [1.5]
    assert list(found["candidates"]) == ["1.00 1.50"] and list(found["n_candidates"]) == [2]


def test_a_variant_without_any_number_is_not_chosen_for():
    assert chosen(rows({1.0: (float("nan"), 0.0)})) == {}


def test_flat_metrics_hold_report_blocks_only_and_no_dots():
    table = rows({1.5: (0.2, 0.9), 2.0: (0.3, 0.1)})
    flat = flatten(
        table, select(table, INFO, block="select", metrics=["js"]), ["cfg/w2.00"], select_block="select"
    )
    assert flat == {"cfg_w": 1.5, "cfg_js": 0.9005, "cfg_w200_js": 0.1005}
    assert not any("." in name for name in flat)


def test_flat_metrics_leave_out_what_cannot_be_estimated():
    table = rows({1.5: (0.2, 0.9), 2.0: (0.3, 0.1)}).assign(note="")
    table.loc[(table["w"] == 2.0) & (table["seed_block"] == "report1"), "note"] = "not estimable: tail"
    flat = flatten(
        table, select(table, INFO, block="select", metrics=["js"]), ["cfg/w2.00"], select_block="select"
    )
    assert flat == {"cfg_w": 1.5, "cfg_js": 0.9005}


def test_collect_refuses_a_number_that_is_there_twice(tmp_path):
    write_csv(tmp_path / "a.csv", rows({1.5: (0.2, 0.9)}))
    write_csv(tmp_path / "info.csv", INFO)
    save_arrays(tmp_path / "a.safetensors", {}, {"point": "cfg/w1.50"})
    save_arrays(tmp_path / "d.safetensors", {}, {"reports": {"0": {"bce": 0.5}}})
    job = {
        "inputs": {
            "rows": [str(tmp_path / "a.csv")] * 2,
            "parts": [str(tmp_path / "a.safetensors")],
            "metrics": [str(tmp_path / "info.csv")],
            "guide": [str(tmp_path / "d.safetensors")],
            "grade": [],
        },
        "select_block": "select",
        "select_metric": ["js"],
        "headline": [],
    }
    outputs = [tmp_path / name for name in ("m.csv", "s.csv", "f.json", "d.csv", "e.safetensors")]
    with pytest.raises(UserError, match="share their key"):
        collect(job, outputs)
    assert not any(path.exists() for path in outputs)
    job["inputs"]["rows"] = job["inputs"]["rows"][:1]
    collect(job, outputs)
    whole = (tmp_path / "a.csv").read_text()
    for cut in (whole.rsplit("\n", 2)[0] + "\n", whole[:-4]):  # a line is missing; the last line is short
        (tmp_path / "a.csv").write_text(cut)
        with pytest.raises(UserError, match="it was cut or edited"):
            collect(job, [tmp_path / f"again-{name.name}" for name in outputs])
    assert len(read_csv(outputs[0])) == 4 and read_csv(outputs[3])["role"].tolist() == ["guide"]
