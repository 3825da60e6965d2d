"""`guidelab extract` and `guidelab measure` for images, from files to rows, and the mix-ups they refuse."""

import copy

import pandas as pd
import pytest
import torch

from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.errors import UserError
from guidelab.features.extractor import Extracted
from guidelab.io import load_arrays, read_csv, save_arrays
from guidelab.io.shards import folder_of, split, write_manifest, write_shard
from guidelab.jobs import extract, measure
from guidelab.jobs.measure import COLUMNS

BLOCKS = {"select": [0, 29], "report1": [100, 129]}
METRICS = [
    "fid@tiny", "kid@tiny", "recall@tiny", "precision@tiny", "fid@pixels", "inception_score@tiny", "accuracy@tiny",
]  # fmt: skip
SAMPLER = {"name": "heun", "steps": 12, "dtype": "float32"}
SPACES = {
    name: {"of": name, "reference": "reference", "statistics": False, "neighbours": 3, "counts": "equal"}
    for name in ("tiny", "pixels")
}
ROW = {
    "experiment": "fashion", "scale": "ci", "variant": "cfg", "method": "reference", "ref": "blind", "w": 2.0,
    "w_neutral": 1.0, "w_effective": 2.0, "sigma_lo": 0.0, "sigma_hi": float("inf"),
}  # fmt: skip


class Tiny:
    """Pooled colours; logits from them."""

    def __init__(self, size_px=2):
        self.name, self.sha256, self.size_px = "tiny", "ab" * 32, size_px

    def __call__(self, images):
        pooled = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, self.size_px).flatten(1)
        return Extracted(pooled, 9 * pooled[:, :4])


class Pixels:
    """Bytes as they are; no logits."""

    name, sha256 = "pixels", "cd" * 32

    def __call__(self, images):
        return Extracted(images[:, :, ::4, ::4].flatten(1).float())


def pictures(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)


@pytest.fixture
def registry(monkeypatch):
    found = {"tiny": Tiny, "pixels": Pixels}
    monkeypatch.setattr(extract.EXTRACTORS, "load", found.__getitem__)


def samples(folder, weight=2.0, seeds=(0, 1), conditional=True, first=0):
    path = folder / "cfg/w2.00/seeds0-1.json"
    about = {
        "variant": "cfg", "seeds": list(seeds), "blocks": BLOCKS, "terms": [{"weight": weight}], "sampler": SAMPLER,
        "nets_sha256": {"model:main": "1"}, "code": "samplecode",
    }  # fmt: skip
    shards = [s for seed in seeds for block, ends in BLOCKS.items() for s in split(seed, block, ends, 17)]
    for s in shards:
        labels = torch.arange(s.first, s.last + 1) % 4 if conditional else None
        write_shard(
            folder_of(path),
            s,
            about,
            lambda a, b, s=s, y=labels: (pictures(b - a + 1, first + a + s.train_seed), y),
        )
    write_manifest(path, shards, about)
    return path


def reference(folder, seed=9):
    path = folder / "reference.zip"
    write_zip(path, ImageSet(pictures(70, seed), torch.arange(70) % 4, tuple(f"{i:03}" for i in range(70))))
    return path


def extracted(folder, images, features, code="extractcode", **options):
    path = folder / f"{features}-{images.stem}.safetensors"
    job = {
        "features": features, "extractor": {"name": features, **options}, "inputs": {"images": [str(images)]},
        "code": code,
    }  # fmt: skip
    extract.run(job, [path])
    return path


@pytest.fixture
def job(tmp_path, registry):
    made, real = samples(tmp_path), reference(tmp_path)
    inputs = {}
    for name in ("tiny", "pixels"):
        inputs[f"features:{name}"] = [str(extracted(tmp_path, made, name))]
        inputs[f"reference:{name}"] = [str(extracted(tmp_path, real, name))]
    return {
        "row": ROW, "of": {"variant": "cfg", "weights": [2.0], "train_seeds": [0, 1], "sampler": SAMPLER}, "dataset": {"name": "fashion_mnist", "classes": 4}, "blocks": BLOCKS, "metrics": METRICS, "neighbours": 3,
        "sampler": SAMPLER, "label_policy": "random", "inputs": inputs, "representation": "features", "spaces": SPACES,
        "code": "measurecode",
    }  # fmt: skip


def test_extract_keeps_everything_a_row_records(tmp_path, registry):
    tensors, about = load_arrays(extracted(tmp_path, samples(tmp_path), "tiny"))
    assert set(tensors) == {
        f"seed{s}/{b}/{what}" for s in (0, 1) for b in BLOCKS for what in ("features", "logits", "labels")
    }
    assert tensors["seed1/report1/features"].shape == (30, 4)
    assert tensors["seed0/select/labels"].tolist() == [i % 4 for i in range(30)]
    torch.testing.assert_close(
        tensors["seed0/select/features"][:17], Tiny()(pictures(17, 0)).features
    )  # the first shard, in order
    assert about["features_sha256"] == "ab" * 32 and about["source"]["variant"] == "cfg"
    assert "shards" not in about["source"] and about["extractor"] == {"name": "tiny"}

    fold, about = load_arrays(extracted(tmp_path, reference(tmp_path), "pixels"))
    assert set(fold) == {"features", "labels"} and fold["features"].shape == (70, 4)
    assert about["source"] == {"fold": "reference", "n": 70}
    bare, _ = load_arrays(extracted(tmp_path, samples(tmp_path / "u", conditional=False), "tiny"))
    assert not any(name.endswith("labels") for name in bare)


def test_extract_refuses_unknown_options_of_the_extractor(tmp_path, registry):
    with pytest.raises(UserError, match=r"(?s)features.tiny: .*'path'.*wanted options of size_px"):
        extracted(tmp_path, reference(tmp_path), "tiny", path="x")


def test_rows_are_complete_and_in_the_order_asked(tmp_path, job):
    measure.run(job, [tmp_path / "rows.csv", tmp_path / "rows.parts.safetensors"])
    rows = read_csv(tmp_path / "rows.csv")
    assert list(rows.columns) == COLUMNS and len(rows) == 2 * 2 * len(METRICS)
    assert rows["metric"].tolist() == METRICS * 4
    assert rows["seed_block"].tolist() == (["select"] * 7 + ["report1"] * 7) * 2
    assert rows["train_seed"].tolist() == [0] * 14 + [1] * 14
    assert set(rows["code"]) == {"samplecode+extractcode+measurecode"}
    assert rows["value"].notna().all() and rows["std_error"].notna().all()
    by_metric = rows.iloc[:7].set_index("metric")
    assert by_metric["n_generated"].tolist() == [30] * 7
    assert by_metric["n_reference"].tolist() == [70, 30, 30, 30, 70, 0, 0]
    assert by_metric["reference_split"].tolist() == ["reference"] * 5 + ["none"] * 2
    assert by_metric.loc["fid@pixels", ["features", "features_sha256"]].tolist() == ["pixels", "cd" * 32]
    assert (rows["nfe"] == 23).all() and (rows["label_policy"] == "random").all()
    assert rows["checkpoint_sha256"].str.len().eq(16).all() and (rows["w"] == 2.0).all()
    measure.run(job, [tmp_path / "again.csv", tmp_path / "again.parts.safetensors"])
    pd.testing.assert_frame_equal(read_csv(tmp_path / "again.csv"), rows)


def changed(path, change):
    tensors, about = load_arrays(path)
    about = copy.deepcopy(about)
    change(tensors, about)
    save_arrays(path, tensors, about)


@pytest.mark.parametrize(
    ("label", "change", "message"),
    [
        ("features:tiny", lambda t, a: a["source"].update(variant="autog"), "with variant autog, wanted cfg"),
        ("features:tiny", lambda t, a: a["source"].update(terms=[{"weight": 3.0}]), r"with weights \[3.0\], wanted \[2.0\]"),
        ("features:tiny", lambda t, a: a["source"].update(terms=[{"weight": 2.0}, {"weight": 1.0}]), r"weights \[2.0, 1.0\], wanted"),
        ("features:tiny", lambda t, a: a["source"].update(seeds=[0]), r"with train_seeds \[0\], wanted \[0, 1\]"),
        ("features:tiny", lambda t, a: a["source"]["sampler"].update(steps=18), "'steps': 18.*, wanted .*'steps': 12"),
        ("features:tiny", lambda t, a: a.update(images_sha256="0"), "different images"),
        ("reference:pixels", lambda t, a: a.update(images_sha256="0"), "different reference images"),
        ("reference:tiny", lambda t, a: a.update(features_sha256="0"), "features_sha256 is 0"),
        ("reference:tiny", lambda t, a: a.update(extractor={"name": "tiny", "size_px": 3}), "extractor is"),
        ("features:pixels", lambda t, a: a.update(features="tiny"), "holds features 'tiny', wanted 'pixels'"),
        ("features:tiny", lambda t, a: a["source"]["blocks"].update(select=[5, 34]), r"holds seeds \[5, 34\]"),
        ("features:tiny", lambda t, a: t.pop("seed1/report1/labels"), "seed1/report1/labels"),
        ("features:tiny", lambda t, a: t.update({"seed0/select/features": torch.zeros(29, 4)}), r"\(29, 4\), wanted"),
    ],
)  # fmt: skip
def test_files_that_belong_to_something_else_are_refused(tmp_path, job, label, change, message):
    changed(job["inputs"][label][0], change)
    with pytest.raises(UserError, match=message):
        measure.run(job, [tmp_path / "rows.csv", tmp_path / "rows.parts.safetensors"])
    assert not (tmp_path / "rows.csv").exists()


def test_metrics_of_features_the_job_does_not_have(tmp_path, job):
    with pytest.raises(UserError, match=r"fid@lite0: no space 'lite0'"):
        measure.run(
            job | {"metrics": ["fid@lite0"]}, [tmp_path / "rows.csv", tmp_path / "rows.parts.safetensors"]
        )
    with pytest.raises(UserError, match="seed0/select/logits"):
        measure.run(
            job | {"metrics": ["accuracy@pixels"]},
            [tmp_path / "rows.csv", tmp_path / "rows.parts.safetensors"],
        )


def test_a_shard_that_changed_after_the_manifest_is_refused(tmp_path, registry):
    made = samples(tmp_path)
    shard = next(folder_of(made).rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="is not the file its manifest lists"):
        extracted(tmp_path, made, "tiny")
