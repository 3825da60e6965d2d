"""Suspect samples never pass without a note: repeats, copies, collapse, too few for their features, overflow."""

import math

import numpy as np
import pytest
import torch

from guidelab.metrics.flags import flagged, flags, rank_flag
from guidelab.metrics.frechet_fixed import spread
from guidelab.metrics.images import Generated, Reference, measure_images
from guidelab.metrics.kid import kid
from guidelab.metrics.value import Value

REAL = np.random.default_rng(0).standard_normal((400, 6))
FAKE = np.random.default_rng(1).standard_normal((300, 6))


def test_sound_samples_have_no_flag():
    assert flags(FAKE, REAL) == () and flags(FAKE) == ()
    assert rank_flag(7, 6) == "" and "singular" in rank_flag(6, 6)  # n samples span n - 1 dimensions


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_repeated_samples_never_pass_unnoticed(dtype):
    half = torch.from_numpy(np.concatenate([FAKE[:150], FAKE[:150]])).to(dtype)
    assert flags(half, REAL) == ("150 of 300 generated samples repeat another one",)


def test_samples_copied_from_the_reference_never_pass_unnoticed():
    copied = np.concatenate([FAKE[:200], REAL[:100]])
    assert flags(copied, REAL) == ("100 of 300 generated samples equal one of the reference",)
    assert "400 of 400" in flags(REAL, REAL)[0]


@pytest.mark.parametrize("features", [2, 16, 512])
def test_copies_of_the_reference_that_differ_by_rounding_never_pass_unnoticed(features):
    random = np.random.default_rng(2)
    real = random.standard_normal((400, features)).astype(np.float32)
    copied = real[:300] + 1e-7 * random.standard_normal((300, features))
    (found,) = flags(copied, real)
    assert int(found.split()[0]) > 100 and "equal one of the reference" in found
    assert flags(copied + 1e-2, real) == ()


def test_independent_samples_are_never_copies():
    """Of one large feature among many, and of features that all lie on a line: a coarse grid has few cells there."""
    random = np.random.default_rng(4)
    scales = np.ones(64)
    scales[0] = 1e5
    assert (
        flags(scales * random.standard_normal((1000, 64)), scales * random.standard_normal((1000, 64))) == ()
    )
    line = random.standard_normal((50_700, 1)) * np.ones(20)
    assert flags(line[:700], line[700:]) == ()


def test_a_collapsed_generator_never_passes_unnoticed():
    collapsed = FAKE[:1] + 1e-5 * FAKE
    (found,) = flags(collapsed, REAL)
    assert found.startswith("collapsed: the samples' variance is 1e-10 of")
    assert any("repeat" in note for note in flags(np.ones((50, 6)), REAL))


@pytest.mark.parametrize("features", [2, 6])
def test_a_collapse_in_one_direction_never_passes_unnoticed(features):
    direction = np.ones(features) / math.sqrt(features)
    generated = np.random.default_rng(3).standard_normal((300, features))
    flat = generated - 0.99 * np.outer(generated @ direction, direction)
    (found,) = flags(flat, REAL[:, :features])
    assert (
        found.startswith("collapsed in one direction: the samples' variance there is 0.0001 of")
        or "9e-05" in found
    )
    assert flags(generated, REAL[:, :features]) == ()
    assert flags(generated, np.ones((400, features))) == ()
    assert flags(generated, np.full((400, features), np.inf)) == ()
    wild = np.concatenate([REAL[:, :features], np.full((1, features), 1e30)])
    assert all("direction" not in note for note in flags(wild, REAL[:, :features]))
    constant = np.concatenate([REAL, np.ones((400, 1))], axis=1)
    assert flags(np.concatenate([FAKE, np.ones((300, 1))], axis=1), constant) == ()


def test_fewer_samples_than_features_are_noted_on_frechet_distances_only():
    values = {"fid": Value(1.0, 0.1), "precision": Value(0.5, 0.1)}
    found = flagged(values, (), rank_flag(1000, 1280))
    assert found["fid"].note == "1000 samples for 1280 features: the covariance is singular"
    assert found["precision"].note == "" and found["fid"].estimable


def test_an_overflow_is_not_an_estimate():
    found = flagged({"kid": Value(math.inf, math.nan)}, ())
    assert not found["kid"].estimable and "overflow" in found["kid"].note


def test_one_huge_sample_never_decides_kid_unnoticed():
    wild = FAKE.copy()
    wild[0] = 1e30
    assert not kid(generated=wild, reference=REAL).estimable
    assert kid(generated=FAKE, reference=REAL).note == ""


def test_image_metrics_carry_the_flags():
    generated = np.concatenate([REAL[:3], REAL[:2]])
    found = measure_images(
        Generated(generated), Reference(REAL, spread(REAL)), ["fid", "kid"], k=2, counts="equal"
    )
    notes = {number.metric: number.value.note for number in found}
    assert "5 samples for 6 features" in notes["fid"] and "samples for" not in notes["kid"]
    assert all("2 of 5 generated samples repeat another one" in note for note in notes.values())
    assert all("5 of 5 generated samples equal one of the reference" in note for note in notes.values())
