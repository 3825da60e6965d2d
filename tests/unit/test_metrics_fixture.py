"""Values of the public reference implementations: counts to equality, and not those of exchanged sides."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from guidelab.metrics.frechet import frechet_distance, moments
from guidelab.metrics.manifold import manifold

FILE = Path(__file__).parents[1] / "parity" / "data" / "metrics.safetensors"


@pytest.fixture(scope="module")
def fixture():
    with safe_open(FILE, "pt") as file:
        config = json.loads(file.metadata()["config"])
        return config, file.get_tensor("in/fake"), file.get_tensor("in/real")


def test_frechet_distance(fixture):
    config, fake, real = fixture
    ours = frechet_distance(generated=moments(fake), reference=moments(real))
    assert ours == pytest.approx(config["fid"], rel=1e-9)


@pytest.mark.parametrize("name", ["precision", "recall", "density", "coverage"])
def test_manifold_to_equality(fixture, name):
    config, fake, real = fixture
    value = getattr(manifold(generated=fake, reference=real, k=config["k"]), name).value
    assert value == pytest.approx(config[name], rel=0, abs=1e-15)
    swapped = getattr(manifold(generated=real, reference=fake, k=config["k"]), name).value
    assert swapped != pytest.approx(config[name], abs=0.01)
