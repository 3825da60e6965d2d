"""Ours against torch-fidelity on images, and every trap of its that would give a wrong number without a word."""

import numpy as np
import pytest
import torch

from guidelab.metrics.fidelity import Settings, adapter, extracted, fidelity
from guidelab.metrics.frechet_fixed import spread
from guidelab.metrics.images import Generated, Reference, measure_images
from guidelab.metrics.torchvision_repair import import_torchvision


def extract(images):
    """Small, but not linear: 12 pooled colours and their products; logits from them."""
    x = images.expand(-1, 3, -1, -1).float() / 127.5 - 1
    pooled = torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)
    return torch.cat([pooled, pooled.roll(1, 1) * pooled], 1), 20 * pooled[:, :5]


def ours_of(generated, reference, names, logits=None):
    """Our values by name, at equal counts."""
    sides = Generated(generated, logits=logits), Reference(reference, spread(reference))
    return {n.metric: n.value.value for n in measure_images(*sides, names, k=3, counts="equal")}


def images(n, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    coarse = 128 + 60 * scale * torch.randn(n, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, 8).clip(0, 255).to(torch.uint8)


def theirs_of(generated, reference, extract=extract, inception_score=False, batch=64):
    """torch-fidelity's values by name under our settings, images to numbers."""
    fake, logits = extracted(generated, extract, logits=inception_score, batch=batch)
    rows = min(len(generated), len(reference))
    ours = Settings(torch.float64, kid_subsets=1, kid_subset=rows, splits=1, shuffle=False)
    names = ["fid", "kid", "precision", "recall"] + ["inception_score"] * inception_score
    real = extracted(reference, extract, batch=batch)[0]
    return fidelity(names, generated=fake, reference=real, logits=logits, settings=ours)


def test_all_metrics_agree():
    fake, real = images(150, 0, 0.8), images(150, 1)
    theirs = theirs_of(fake, real, inception_score=True, batch=40)
    (features, logits), (reference, _) = extract(fake), extract(real)
    names = ("fid", "kid", "precision", "recall", "inception_score")
    for name, value in ours_of(features, reference, names, logits).items():
        # precision and recall are float32 means there
        assert value == pytest.approx(theirs[name], rel=1e-6, abs=1e-9), name


def test_its_one_call_gives_the_same_numbers_under_its_defaults():
    """`calculate_metrics` with the extractor registered: what somebody else would type, unequal n included."""
    import_torchvision()
    from torch_fidelity import calculate_metrics, register_feature_extractor

    class Bare(torch.utils.data.Dataset):
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index]

    register_feature_extractor("guidelab-test", adapter(extract))
    fake, real = images(1010, 0, 0.8), images(1200, 1)
    found = calculate_metrics(
        input1=Bare(fake), input2=Bare(real), feature_extractor="guidelab-test", cuda=False, cache=False, verbose=False, save_cpu_ram=True,
        fid=True, kid=True, prc=True, isc=True,
    )  # fmt: skip
    features, logits = extracted(fake, extract, logits=True)
    names = ["fid", "kid", "precision", "recall", "inception_score"]
    sides = {"generated": features, "reference": extracted(real, extract)[0]}
    theirs = fidelity(names, **sides, logits=logits, settings=Settings())
    keys = ("frechet_inception_distance", "kernel_inception_distance_mean", "precision", "recall", "inception_score_mean")  # fmt: skip
    for name, key in zip(names, keys, strict=True):
        assert theirs[name] == pytest.approx(found[key], rel=1e-9, abs=1e-12), name


def test_generated_and_real_sides_are_not_exchanged():
    collapsed, real = images(100, 2, 0.02), images(100, 3)
    values = theirs_of(collapsed, real)
    assert values["precision"] > 0.9 and values["recall"] < 0.1


def test_floats_are_refused():
    with pytest.raises(ValueError, match="wanted uint8"):
        extracted(images(9, 0).float(), extract)


def test_float64_really_is_float64():
    """Features of 3000 +- 1: a float32 mean misses in the fifth digit and moves the distance."""
    dtypes = []

    def offset(batch):
        features = 3000 + extract(batch)[0]
        dtypes.append(features.dtype)
        return features, None

    fake, real = images(200, 4, 0.9), images(200, 5)
    values = theirs_of(fake, real, offset)
    ours = ours_of(offset(fake)[0], offset(real)[0], ["fid"])["fid"]
    assert values["fid"] == pytest.approx(ours, rel=1e-7)
    import_torchvision()
    from torch_fidelity.metric_fid import fid_features_to_statistics

    naive = fid_features_to_statistics(offset(fake)[0])
    assert naive["mu"].dtype == np.float32  # what it does when left alone
    assert set(dtypes) == {torch.float32}


def test_changed_images_are_never_answered_from_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fake, real = images(60, 6), images(60, 7)
    before = theirs_of(fake, real)["fid"]
    fake //= 2
    assert theirs_of(fake, real)["fid"] > before + 0.1
    assert not list(tmp_path.rglob("*.pt"))


def test_two_extractors_are_kept_apart():
    fake, real = images(60, 8), images(60, 9)
    one, two = (theirs_of(fake, real, lambda b, f=f: (extract(b)[0] * f, None)) for f in (1, 2))
    assert two["fid"] == pytest.approx(4 * one["fid"], rel=1e-9)


def test_a_slightly_negative_distance_is_passed_on():
    """Equal sets, fewer rows than features: about zero from either side, and nothing clamps it into a tie."""
    same = images(20, 10)
    features = extract(same)[0]
    ours = ours_of(features, features, ["fid"])["fid"]
    assert abs(theirs_of(same, same)["fid"]) < 1e-4 and abs(ours) < 1e-6
    negatives = 0
    for seed in range(12):
        rows = extract(images(20, seed))[0]
        value = ours_of(rows, rows.flip(0), ["fid"])["fid"]
        assert abs(value) < 1e-6
        negatives += value < 0
    assert negatives > 0


def test_logits_that_are_absent_are_named():
    with pytest.raises(ValueError, match="without logits"):
        theirs_of(images(9, 0), images(9, 1), lambda batch: (extract(batch)[0], None), inception_score=True)


def test_an_extractor_of_ours_through_its_whole_path():
    """EfficientNet-Lite0, gray images, fewer rows than features: extraction and metrics together."""
    from guidelab.features.efficientnet_lite0 import EfficientNetLite0

    lite = EfficientNetLite0(32)
    fake, real = images(48, 11, 0.5)[:, :1], images(48, 12)[:, :1]
    theirs = theirs_of(fake, real, lambda batch: (lite(batch).features, None), batch=16)
    names = ("fid", "kid", "precision", "recall")
    for metric, value in ours_of(lite(fake).features, lite(real).features, names).items():
        # its root of a product's eigenvalues is good to 1e-8 of the largest, here 1,230 times over
        assert value == pytest.approx(theirs[metric], rel=1e-3), metric
