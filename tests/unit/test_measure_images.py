"""Image metrics under `counts: all` against brute force; measurement jobs whose spaces have published statistics."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from guidelab.errors import UserError
from guidelab.io import load_arrays, read_csv, save_arrays
from guidelab.jobs import feature_spaces, measure
from guidelab.jobs.measure import COLUMNS
from guidelab.metrics import images
from guidelab.metrics.class_scores import inception_score
from guidelab.metrics.frechet import frechet_distance, moments
from guidelab.metrics.frechet_fixed import spread
from guidelab.metrics.images import Generated, Reference, measure_images, released_statistics
from guidelab.metrics.kid import kid
from guidelab.metrics.manifold import manifold

N, M, F, S = 60, 40, 5, 7


def draw(n, f, seed, shift=0.0):
    return torch.randn(n, f, generator=torch.Generator().manual_seed(seed)) + shift


FAKE, REAL = draw(N, F, 0, 0.3), draw(M, F, 1)
SPATIAL, REAL_SPATIAL = draw(N, S, 2), draw(M, S, 3, 0.2)
LOGITS, LABELS = draw(N, 4, 4), torch.arange(N) % 4


def sides(released=False):
    def of(x):
        found = moments(x)
        return released_statistics(found.mean, found.cov) if released else spread(x)

    generated = Generated(FAKE, SPATIAL, LOGITS, LABELS)
    return generated, Reference(REAL, of(REAL), of(REAL_SPATIAL), released, 1234 if released else 0)


def all_counts(generated, reference, names, k):
    return measure_images(generated, reference, names, k=k, counts="all")


def by_name(names, released=False, k=3):
    return {n.metric: n for n in all_counts(*sides(released), names, k=k)}


def test_all_metrics_in_order_with_their_sizes():
    found = all_counts(*sides(), images.IMAGE_METRICS, k=3)
    assert [n.metric for n in found] == list(images.IMAGE_METRICS)
    sizes = {n.metric: (n.n_generated, n.n_reference, n.against) for n in found}
    assert sizes["fid"] == sizes["recall"] == sizes["kid"] == (N, M, "images")
    assert sizes["inception_score"] == sizes["accuracy"] == (N, 0, "nothing")


def test_distances_are_those_of_the_moments_under_both_rules():
    found = by_name(["fid", "sfid"])
    want = frechet_distance(generated=moments(FAKE), reference=moments(REAL))
    spatial = frechet_distance(generated=moments(SPATIAL), reference=moments(REAL_SPATIAL))
    assert found["fid"].value.value == pytest.approx(want, rel=1e-9)
    assert found["sfid"].value.value == pytest.approx(spatial, rel=1e-9)
    (own,) = measure_images(*sides(), ["fid"], k=3, counts="equal")
    assert found["fid"].value == own.value  # a distance to moments knows no counts


def test_released_statistics_give_the_same_distance_and_say_what_the_error_leaves_out():
    own, theirs = by_name(["fid", "sfid"]), by_name(["fid", "sfid"], released=True)
    for name in own:
        assert theirs[name].value.value == pytest.approx(own[name].value.value, rel=1e-9)
        assert (theirs[name].n_reference, theirs[name].against) == (1234, "statistics")
        assert "no sampling of the reference" in theirs[name].value.note
        assert "reference" not in own[name].value.note


@pytest.mark.parametrize(
    ("mean", "cov", "said"),
    [
        (np.zeros(2), np.eye(3), "do not fit"),
        (np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (np.array([0.0, np.nan]), np.eye(2), "not finite"),
        (np.zeros(2), np.diag([1.0, -1.0]), "negative"),
    ],
)
def test_released_statistics_are_checked(mean, cov, said):
    with pytest.raises(ValueError, match=said):
        released_statistics(mean, cov)


def brute_share(points, centres, k):
    """Share of points inside the k-th nearest other centre's ball of some centre, by full distance matrices."""
    own = torch.cdist(centres.double(), centres.double())
    radius = own.sort(1).values[:, k]  # column 0 is the point itself
    return float((torch.cdist(points.double(), centres.double()) <= radius).any(1).double().mean())


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_of_unequal_sizes_are_brute_force_and_never_exchanged(k):
    found = by_name(["recall", "precision"], k=k)
    assert found["precision"].value.value == pytest.approx(brute_share(FAKE, REAL, k), abs=1e-12)
    assert found["recall"].value.value == pytest.approx(brute_share(REAL, FAKE, k), abs=1e-12)
    own = manifold(generated=FAKE, reference=REAL, k=k)
    assert found["precision"].value.value == own.precision.value
    assert f"k = {k}, {M} real x {N} generated" in found["recall"].value.note
    one_spot = Generated(FAKE[:1].repeat(N, 1) * 0 + REAL.mean(0) + 1e-3 * FAKE)
    collapsed = all_counts(one_spot, sides()[1], ["precision", "recall"], k=k)
    assert collapsed[0].value.value > 0.9 and collapsed[1].value.value < 0.1


def test_kid_meets_all_real_images():
    assert by_name(["kid"])["kid"].value.value == pytest.approx(
        kid(generated=FAKE, reference=REAL).value, rel=1e-12
    )


def test_inception_score_in_consecutive_splits_depends_on_order(monkeypatch):
    assert by_name(["inception_score"])["inception_score"].value.value == inception_score(LOGITS).value
    assert by_name(["inception_score"])["inception_score"].value.note == "one split"
    monkeypatch.setattr(images, "SPLIT", 20)
    found = by_name(["inception_score"])["inception_score"].value
    each = [inception_score(LOGITS[i : i + 20]).value for i in (0, 20, 40)]
    assert (
        found.value == pytest.approx(np.mean(each), rel=1e-12) and "3 consecutive splits of 20" in found.note
    )
    order = LOGITS.argmax(1).argsort()
    by_class = Generated(FAKE, SPATIAL, LOGITS[order], LABELS)
    lower = all_counts(by_class, sides()[1], ["inception_score"], k=3)[0].value.value
    assert lower < found.value


@pytest.mark.parametrize(
    ("names", "generated", "reference", "said"),
    [
        (["psnr"], Generated(FAKE), Reference(REAL), "'psnr' is not known"),
        (["fid"], Generated(FAKE), Reference(REAL), "no statistics"),
        (["recall"], Generated(FAKE), Reference(), "features of real images"),
        (["sfid"], Generated(FAKE), Reference(spatial=spread(REAL_SPATIAL)), "spatial features are wanted"),
        (["inception_score"], Generated(FAKE, logits=LOGITS[:3]), Reference(), "3 logits, wanted 60"),
    ],
)
def test_parts_that_are_wanted_and_absent_are_named(names, generated, reference, said):
    with pytest.raises(ValueError, match=said):
        all_counts(generated, reference, names, k=3)


# ---- the job ----------------------------------------------------------------------------------------------------

BLOCKS = {"select": [0, N - 1], "report1": [100, 100 + N - 1]}
SAMPLER = {"name": "ddpm", "steps": 250, "dtype": "float32"}
METRICS = [
    "fid@adm", "sfid@adm", "precision@adm", "recall@adm", "inception_score@adm", "fid@inception", "recall@inception",
    "fid@dinov2",
]  # fmt: skip
SPACES = {
    "adm": {"of": "inception", "reference": "batch", "statistics": True, "neighbours": 3, "counts": "all"},
    "inception": {
        "of": "inception",
        "reference": "reference",
        "statistics": False,
        "neighbours": 5,
        "counts": "all",
    },
    "dinov2": {
        "of": "dinov2",
        "reference": "reference",
        "statistics": True,
        "neighbours": None,
        "counts": "all",
    },
}
ROW = {
    "experiment": "imagenet256", "scale": "full", "variant": "cfg", "method": "reference", "ref": "blind", "w": 1.5,
    "w_neutral": 1.0, "w_effective": 1.5, "sigma_lo": 0.0, "sigma_hi": float("inf"),
}  # fmt: skip


def features_file(path, name, source, tensors, sha=None, images="1"):
    about = {
        "kind": "features", "features": name, "extractor": {"name": name}, "features_sha256": sha or name * 2,
        "source": source, "images_sha256": images, "code": "extractcode",
    }  # fmt: skip
    save_arrays(path, tensors, about)
    return [str(path)]


def generated_file(folder, name, f, **kwargs):
    source = {
        "variant": "cfg", "terms": [{"weight": 1.5}], "seeds": [0], "sampler": SAMPLER, "blocks": BLOCKS,
        "nets_sha256": {"model:main": "1"}, "code": "samplecode",
    }  # fmt: skip
    tensors = {}
    for i, block in enumerate(BLOCKS):
        tensors[f"seed0/{block}/features"] = draw(N, f, 10 + i, 0.3)
        tensors[f"seed0/{block}/spatial"] = draw(N, S, 20 + i)
        tensors[f"seed0/{block}/logits"] = draw(N, 1008, 30 + i)
        tensors[f"seed0/{block}/labels"] = torch.arange(N) % 4
    return features_file(folder / f"{name}.safetensors", name, source, tensors, **kwargs)


def real_file(folder, name, fold, n, f, **kwargs):
    tensors = {"features": draw(n, f, 40 + n), "spatial": draw(n, S, 50)}
    path = folder / f"{name}-{fold}.safetensors"
    return features_file(path, name, {"fold": fold, "n": n}, tensors, **kwargs)


def statistics_file(folder, name, f):
    made = {"": moments(draw(300, f, 60)), "_spatial": moments(draw(300, S, 61))}
    tensors = {}
    for suffix, m in made.items():
        tensors[f"mean{suffix}"], tensors[f"cov{suffix}"] = torch.from_numpy(m.mean), torch.from_numpy(m.cov)
    path = folder / f"{name}-statistics.safetensors"
    save_arrays(path, tensors, {"kind": "statistics", "released": {"name": name}, "code": "obtaincode"})
    return [str(path)]


@pytest.fixture
def job(tmp_path):
    return {
        "row": ROW, "dataset": {"name": "imagenet", "classes": 4}, "sampler": SAMPLER, "blocks": BLOCKS,
        "of": {"variant": "cfg", "weights": [1.5], "train_seeds": [0], "sampler": SAMPLER},
        "metrics": METRICS, "neighbours": 3, "label_policy": "random", "spaces": SPACES, "representation": "features", "code": "measurecode",
        "inputs": {
            "features:inception": generated_file(tmp_path, "inception", F),
            "features:dinov2": generated_file(tmp_path, "dinov2", 3),
            "reference:adm": real_file(tmp_path, "inception", "batch", M, F),
            "reference:inception": real_file(tmp_path, "inception", "reference", N, F),
            "statistics:adm": statistics_file(tmp_path, "adm_256", F),
            "statistics:dinov2": statistics_file(tmp_path, "img512", 3),
        },
    }  # fmt: skip


def rows_of(job, folder):
    measure.run(job, [folder / "rows.csv", folder / "rows.parts.safetensors"])
    return read_csv(folder / "rows.csv")


def test_rows_name_what_each_number_met(job, tmp_path):
    rows = rows_of(job, tmp_path)
    assert list(rows.columns) == COLUMNS and len(rows) == len(METRICS) * len(BLOCKS)
    assert list(rows["metric"][: len(METRICS)]) == METRICS
    first = rows[rows["seed_block"] == "select"].set_index("metric")
    assert first["reference_split"].to_dict() == {
        "fid@adm": "released adm_256", "sfid@adm": "released adm_256", "precision@adm": "batch", "recall@adm": "batch",
        "inception_score@adm": "none", "fid@inception": "reference", "recall@inception": "reference",
        "fid@dinov2": "released img512",
    }  # fmt: skip
    assert first.loc[["fid@adm", "recall@adm", "fid@inception"], "n_reference"].tolist() == [0, M, N]
    assert first.loc["fid@adm", "features"] == "inception" and set(rows["nfe"]) == {250}
    assert "k = 5" in first.loc["recall@inception", "note"] and "k = 3" in first.loc["recall@adm", "note"]
    fake = draw(N, F, 10, 0.3)
    want = frechet_distance(generated=moments(fake), reference=moments(draw(300, F, 60)))
    assert first.loc["fid@adm", "value"] == pytest.approx(want, rel=1e-9)
    assert first.loc["recall@adm", "value"] == pytest.approx(brute_share(draw(M, F, 40 + M), fake, 3))
    assert first.loc["fid@adm", "checkpoint_sha256"] and first.loc["fid@adm", "code"].endswith("+measurecode")


def test_a_subset_of_real_images_is_drawn_by_the_blocks_first_seed(job, tmp_path, monkeypatch):
    seen, load = [], feature_spaces.measurer

    def measurer(kind, name):
        def measured(*arguments, **how):
            seen.append(how["seed"])
            return load(kind, name)(*arguments, **how)

        return measured

    monkeypatch.setattr(feature_spaces, "measurer", measurer)
    rows_of(job, tmp_path)
    assert set(seen) == {first for first, _ in BLOCKS.values()} == {0, 100}


def test_nfe_of_heun_is_two_calls_a_step_but_the_last(job, tmp_path):
    job = copy.deepcopy(job)
    heun = {"name": "heun", "steps": 32, "dtype": "float32"}
    job["sampler"] = heun
    assert set(rows_of(job, tmp_path)["nfe"]) == {63}
    assert set(rows_of(job | {"real": "reference"}, tmp_path)["nfe"]) == {0}  # images, not samples


def test_a_file_with_two_families_of_statistics_gives_each_space_its_own(job, tmp_path):
    inception, dinov2 = moments(draw(300, F, 60)), moments(draw(300, 3, 62))
    tensors = {
        "mean": inception.mean,
        "cov": inception.cov,
        "mean_dinov2": dinov2.mean,
        "cov_dinov2": dinov2.cov,
    }
    path = tmp_path / "two.safetensors"
    about = {"kind": "statistics", "released": {"name": "img512"}}
    save_arrays(path, {k: torch.from_numpy(v) for k, v in tensors.items()}, about)
    job = copy.deepcopy(job)
    job["metrics"] = ["fid@adm", "fid@dinov2"]
    job["inputs"] |= {"statistics:adm": [str(path)], "statistics:dinov2": [str(path)]}
    del job["inputs"]["reference:adm"]  # no metric looks at single images: none are needed
    first = rows_of(job, tmp_path).iloc[:2]["value"].tolist()
    assert first[0] == pytest.approx(
        frechet_distance(generated=moments(draw(N, F, 10, 0.3)), reference=inception)
    )
    assert first[1] == pytest.approx(
        frechet_distance(generated=moments(draw(N, 3, 10, 0.3)), reference=dinov2)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda j, t: j["inputs"].pop("statistics:adm"), "no statistics 'adm' among the inputs"),
        (lambda j, t: j["inputs"].pop("reference:adm"), "no reference 'adm' among the inputs"),
        (lambda j, t: j["metrics"].append("fid@amd"), "no space 'amd'.*did you mean 'adm'"),
        (lambda j, t: j["metrics"].append("fidd@adm"), "image metric 'fidd' is not known.*did you mean"),
        (lambda j, t: j["metrics"].append("accuracy@adm"), "the classifier has 1008 classes, the data 4"),
        (lambda j, t: j["of"].update(weights=[2.0]), "weights.*wanted"),
        (lambda j, t: j["inputs"].update({"statistics:adm": j["inputs"]["reference:adm"]}), "released statistics"),
        (
            lambda j, t: j["inputs"].update({"statistics:adm": statistics_file(t, "other", 9)}),
            r"compared with .*other-statistics.safetensors.*5 features generated, 9",
        ),
        (lambda j, t: j["inputs"].update({"reference:adm": j["inputs"]["reference:inception"]}), "fold 'reference'"),
        (
            lambda j, t: j["inputs"].update({"reference:adm": real_file(t, "inception", "batch", M, F, sha="x")}),
            "features_sha256",
        ),
        (
            lambda j, t: j["inputs"].update({"features:dinov2": generated_file(t, "dinov2", 3, images="2")}),
            "different images",
        ),
    ],
)  # fmt: skip
def test_mix_ups_are_refused(job, tmp_path, change, said):
    job = copy.deepcopy(job)
    change(job, tmp_path)
    with pytest.raises(UserError, match=said):
        rows_of(job, tmp_path)


def test_values_are_finite(job, tmp_path):
    rows = rows_of(job, tmp_path)
    assert np.isfinite(pd.to_numeric(rows["value"])).all() and np.isfinite(rows["std_error"]).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_reference_that_is_not_finite_is_never_compared_with(job, tmp_path, value):
    (path,) = real_file(tmp_path, "inception", "reference", N, F)
    tensors, about = load_arrays(path)
    tensors["features"][3, 1] = value
    save_arrays(path, tensors, about)
    with pytest.raises(
        UserError, match=r"reference.safetensors: 1 of \d+ real images have features that are not finite"
    ):
        rows_of(job, tmp_path)
