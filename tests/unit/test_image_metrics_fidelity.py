"""Ours against torch-fidelity on images, and every trap of its that would give a wrong number without a word."""

import numpy as np
import pytest
import torch

from guidelab.metrics.fidelity_images import fidelity_images, register_extractor
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


@pytest.fixture(scope="module")
def registered():
    return register_extractor("test", extract)


def test_all_metrics_agree_in_one_call(registered):
    fake, real = images(150, 0, 0.8), images(150, 1)
    theirs = fidelity_images(
        generated=fake, reference=real, extractor=registered, inception_score=True, batch=40
    )
    (features, logits), (reference, _) = extract(fake), extract(real)
    names = ("fid", "kid", "precision", "recall", "inception_score")
    for name, value in ours_of(features, reference, names, logits).items():
        # precision and recall are float32 means there
        assert value == pytest.approx(getattr(theirs, name), rel=1e-6, abs=1e-9), name


def test_generated_is_the_first_keyword_and_sides_are_not_exchanged(registered):
    collapsed, real = images(100, 2, 0.02), images(100, 3)
    values = fidelity_images(generated=collapsed, reference=real, extractor=registered)
    assert values.precision > 0.9 and values.recall < 0.1
    swapped = fidelity_images(generated=real, reference=collapsed, extractor=registered)
    assert (swapped.precision, swapped.recall) == (values.recall, values.precision)
    with pytest.raises(TypeError):
        fidelity_images(collapsed, real, extractor=registered)


def test_unequal_n_and_floats_are_refused(registered):
    with pytest.raises(ValueError, match="100 generated and 99 real"):
        fidelity_images(generated=images(100, 0), reference=images(99, 1), extractor=registered)
    with pytest.raises(ValueError, match="wanted uint8"):
        fidelity_images(generated=images(9, 0).float(), reference=images(9, 1), extractor=registered)


def test_float64_really_is_float64():
    """Features of 3000 +- 1: a float32 mean misses in the fifth digit and moves the distance."""
    dtypes = []

    def offset(batch):
        features = 3000 + extract(batch)[0]
        dtypes.append(features.dtype)
        return features, None

    fake, real = images(200, 4, 0.9), images(200, 5)
    values = fidelity_images(generated=fake, reference=real, extractor=register_extractor("offset", offset))
    ours = ours_of(offset(fake)[0], offset(real)[0], ["fid"])["fid"]
    assert values.fid == pytest.approx(ours, rel=1e-7)
    import_torchvision()
    from torch_fidelity.metric_fid import fid_features_to_statistics

    naive = fid_features_to_statistics(offset(fake)[0])
    assert naive["mu"].dtype == np.float32  # what it does when left alone
    assert set(dtypes) == {torch.float32}


def test_changed_images_are_never_answered_from_a_cache(registered, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fake, real = images(60, 6), images(60, 7)
    before = fidelity_images(generated=fake, reference=real, extractor=registered)
    fake //= 2
    after = fidelity_images(generated=fake, reference=real, extractor=registered)
    assert after.fid > before.fid + 0.1
    assert not list(tmp_path.rglob("*.pt"))


def test_two_extractors_of_one_name_are_kept_apart():
    first = register_extractor("same", extract)
    second = register_extractor("same", lambda batch: (extract(batch)[0] * 2, None))
    assert first != second
    fake, real = images(60, 8), images(60, 9)
    one, two = (fidelity_images(generated=fake, reference=real, extractor=e) for e in (first, second))
    assert two.fid == pytest.approx(4 * one.fid, rel=1e-9)


def test_a_slightly_negative_distance_is_passed_on(registered):
    """Equal sets, fewer rows than features: about zero from either side, and nothing clamps it into a tie."""
    same = images(20, 10)
    theirs = fidelity_images(generated=same, reference=same, extractor=registered)
    features = extract(same)[0]
    ours = ours_of(features, features, ["fid"])["fid"]
    assert abs(theirs.fid) < 1e-4 and abs(ours) < 1e-6
    negatives = 0
    for seed in range(12):
        rows = extract(images(20, seed))[0]
        value = ours_of(rows, rows.flip(0), ["fid"])["fid"]
        assert abs(value) < 1e-6
        negatives += value < 0
    assert negatives > 0


def test_torch_fidelitys_defaults_cannot_serve_both_protocols():
    """FID by Inception, precision by VGG16: why an extractor is always named."""
    import_torchvision()
    from torch_fidelity.utils import resolve_feature_extractor

    with pytest.raises(ValueError, match="several feature extractors"):
        resolve_feature_extractor(fid=True, prc=True)
    named = resolve_feature_extractor(fid=True, prc=True, feature_extractor="inception-v3-compat")
    assert named == "inception-v3-compat"


def test_logits_that_are_not_there_are_said_so():
    name = register_extractor("no logits", lambda batch: (extract(batch)[0], None))
    with pytest.raises(ValueError, match="without logits"):
        fidelity_images(generated=images(9, 0), reference=images(9, 1), extractor=name, inception_score=True)


def test_a_registered_extractor_of_ours_through_its_whole_path():
    """EfficientNet-Lite0, gray images, fewer rows than features: extraction and metrics together."""
    from guidelab.features.efficientnet_lite0 import EfficientNetLite0

    lite = EfficientNetLite0(32)
    fake, real = images(48, 11, 0.5)[:, :1], images(48, 12)[:, :1]
    name = register_extractor(lite.name, lambda batch: (lite(batch).features, None))
    theirs = fidelity_images(generated=fake, reference=real, extractor=name, batch=16)
    names = ("fid", "kid", "precision", "recall")
    for metric, value in ours_of(lite(fake).features, lite(real).features, names).items():
        # its root of a product's eigenvalues is good to 1e-8 of the largest, here 1,230 times over
        assert value == pytest.approx(getattr(theirs, metric), rel=1e-3), metric
