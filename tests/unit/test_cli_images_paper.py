import json

import pytest
import torch
from image_cases import INFO, SPEC, chosen, images
from PIL import Image

from guidelab.errors import UserError
from guidelab.io import load_arrays, read_csv, save_arrays, write_csv
from guidelab.io.shards import Shard, folder_of, write_manifest, write_shard
from guidelab.jobs import collect, field, figure, findings, preview, table
from guidelab.paper import names

BLOCKS = {"report1": [100, 119]}


def sampled(folder, variant: str, shade: int, blocks=None, labels=True) -> str:
    """A manifest of 20 flat images in two shards, classes 0 to 4 in turn."""
    path = folder / variant / "w1.00" / "seed0.json"
    about = {"variant": variant, "seeds": [0], "blocks": blocks or BLOCKS, "code": "0"}
    first = (blocks or BLOCKS)["report1"][0]
    shards = [Shard(0, "report1", first, first + 9), Shard(0, "report1", first + 10, first + 19)]

    def make(a: int, b: int):
        pixels = torch.full((b - a + 1, 1, 4, 4), shade, dtype=torch.uint8)
        pixels[:, 0, 0, 0] = torch.arange(a, b + 1).to(torch.uint8)
        return pixels, torch.arange(a, b + 1) % 5 if labels else None

    for shard in shards:
        write_shard(folder_of(path), shard, about, make)
    write_manifest(path, shards, about)
    return str(path)


def drawing(tmp_path, points, inputs, **settings):
    job = {"figure": "grid", "code": "0", "inputs": inputs}
    job["settings"] = {"points": points, "n": 3, "train_seed": 0, "block": "report1", "labels": []} | settings
    out = tmp_path / "grid.safetensors"
    field.run(job, [out])
    return load_arrays(out)


def test_field_gathers_the_same_seeds_of_every_point(tmp_path):
    inputs = {
        "samples:none": [sampled(tmp_path, "none", 10)],
        "samples:cfg/w2.00": [sampled(tmp_path, "cfg", 20)],
    }
    points = [["a", "none"], ["b", "cfg/w2.00"]]
    arrays, meta = drawing(tmp_path, points, inputs)
    assert arrays["seeds"].tolist() == [100, 101, 102] and arrays["labels"].tolist() == [0, 1, 2]
    assert arrays["images/cfg/w2.00"].shape == (3, 1, 4, 4) and arrays["images/cfg/w2.00"][2, 0, 0, 0] == 102
    assert meta == {"kind": "fields", "figure": "grid", "code": "0"}
    arrays, _ = drawing(tmp_path, points, inputs, labels=[4, 1])
    assert arrays["seeds"].tolist() == [101, 104, 106, 109, 111, 114]


def test_field_refuses_other_points_seeds_and_classes(tmp_path):
    none, cfg = sampled(tmp_path, "none", 10), sampled(tmp_path, "cfg", 20)
    with pytest.raises(UserError, match="holds samples of cfg, wanted none"):
        drawing(tmp_path, [["a", "none"]], {"samples:none": [cfg]})
    moved = sampled(tmp_path / "b", "cfg", 20, {"report1": [200, 219]})
    points = [["a", "none"], ["b", "cfg/w2.00"]]
    with pytest.raises(UserError, match="its seeds on block report1 differ"):
        drawing(tmp_path, points, {"samples:none": [none], "samples:cfg/w2.00": [moved]})
    bare = sampled(tmp_path / "c", "cfg", 20, labels=False)
    with pytest.raises(UserError, match="its labels on block report1 differ"):
        drawing(tmp_path, points, {"samples:none": [none], "samples:cfg/w2.00": [bare]})


def test_preview_shows_pixels_by_class_and_repeats_bytes(tmp_path):
    job = {
        "settings": {"block": "report1", "n": 10, "columns": 5, "zoom": 2},
        "inputs": {"samples": [sampled(tmp_path, "none", 77)]},
    }
    outs = [tmp_path / "a.png", tmp_path / "b.png"]
    for out in outs:
        preview.run(job, [out])
    assert outs[0].read_bytes() == outs[1].read_bytes()
    picture = Image.open(outs[0])
    assert picture.size == (5 * 9, 2 * 9) and picture.mode == "L"
    assert [picture.getpixel((9 * i, 0)) for i in range(4)] == [100, 105, 101, 106]  # classes 0 0 1 1
    assert picture.getpixel((3, 3)) == 77 and picture.getpixel((8, 8)) == preview.BACKGROUND


def test_preview_of_colour_fills_the_last_line(tmp_path):
    sheet = preview.tile(torch.zeros(3, 3, 2, 2, dtype=torch.uint8), 2, 1)
    assert sheet.shape == (6, 6, 3) and sheet[0, 0].tolist() == [0, 0, 0]
    assert sheet[4, 4].tolist() == [255, 255, 255]  # no fourth image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    rows, parts = images(), []
    for (variant, w), part in rows.groupby(["variant", "w"]):
        parts.append(str(folder / f"{variant}-{w}.csv"))
        write_csv(parts[-1], part)
    info = folder / "metrics.csv"
    write_csv(info, INFO)
    vectors = folder / "none-1.0.parts.safetensors"
    save_arrays(vectors, {"fid@lite0/seed0/report1": torch.ones(4)}, {"point": "none/w1.00"})
    outs = [
        folder / n
        for n in (
            "measurements.csv",
            "selected.csv",
            "metrics.json",
            "discriminators.csv",
            "errors.safetensors",
        )
    ]
    job = SPEC | {
        "select_block": "select",
        "headline": ["cfg/w1.50"],
        "inputs": {"rows": parts, "parts": [str(vectors)], "metrics": [str(info)]},
    }
    collect.run(job, outs)
    inputs = {"measurements": [str(outs[0])], "selected": [str(outs[1])], "metrics": [str(info)]}
    inputs["errors"] = [str(outs[4])]
    return folder, inputs, rows


def test_collect_chooses_once_for_every_metric(files):
    folder, inputs, rows = files
    kept, expected = read_csv(inputs["selected"][0]), chosen(rows)
    key = ["variant", "metric"]
    assert (
        kept.sort_values(key)[[*key, "w"]].values.tolist()
        == expected.sort_values(key)[[*key, "w"]].values.tolist()
    )
    flat = json.loads((folder / "metrics.json").read_text())
    assert (
        flat["cg_w"] == 1.0 and "cfg_w150_fid_lite0" in flat and not any("@" in k or "." in k for k in flat)
    )
    at = rows[(rows["variant"] == "cg") & (rows["w"] == 1.0) & (rows["metric"] == "recall@lite0")]
    assert flat["cg_recall_lite0"] == pytest.approx(
        at[at["seed_block"] != "select"]["value"].mean(), abs=1e-6
    )


def test_a_metric_that_should_be_high_chooses_the_highest():
    rows = images()
    by_recall = chosen(rows, "recall@lite0").set_index("variant")["w"]
    assert by_recall["autog"] == 2.0 and by_recall["icg"] == 1.5


def test_table_story_and_figure_from_files(files):
    folder, inputs, _ = files
    job = SPEC | {"inputs": inputs, "code": "0", "looks": list(names.looks().values())}
    outs = [folder / f"fashion.{kind}" for kind in ("csv", "md", "tex", "sources.csv")]
    table.run(job, outs)
    assert read_csv(outs[0])["variant"].iloc[0] == "none" and outs[1].read_text().startswith("## fashion")
    findings.run(job, [folder / "story.md"])
    assert "CFG or autoguidance?" in (folder / "story.md").read_text()
    drawn = [folder / f"weights.{kind}" for kind in ("pdf", "png", "csv")]
    figure.run(
        job
        | {"inputs": {n: p for n, p in inputs.items() if n != "errors"}, "figure": "weights", "settings": {}},
        drawn,
    )
    assert drawn[0].read_bytes().startswith(b"%PDF") and len(read_csv(drawn[2])) > 40
