"""The 2D example against stored reference values: components, density, score, network."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guidelab.data.toy2d import fractal
from guidelab.nets.toy import ToyDenoiser

STORED = load_file(Path(__file__).parent / "data" / "toy2d.safetensors")
TOLERANCE = 1e-5  # relative to the largest magnitude of each output
SMALLEST_LOG = math.log(torch.finfo(torch.float32).tiny)  # below, the reference's density is denormal or zero


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert wanted.numel() and torch.isfinite(wanted).all()
    assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


@pytest.mark.parametrize("classes", ["A", "B", "AB"])
def test_components(classes: str) -> None:
    tree = fractal(classes)
    close(tree.weights, STORED[f"out/phi_{classes}"])
    close(tree.means, STORED[f"out/mu_{classes}"])
    close(tree.covs, STORED[f"out/Sigma_{classes}"])


@pytest.mark.parametrize("form", ["lines", "mixture"])
@pytest.mark.parametrize("classes", ["A", "B", "AB"])
def test_density_and_score(classes: str, form: str) -> None:
    tree = fractal(classes)
    law = tree if form == "lines" else tree.mixture
    x, sigma = STORED["in/x"], STORED["in/sigma"]
    for level, suffix in ((sigma, ""), (0.5, "_sigma0.5")):
        wanted = STORED[f"out/logp_{classes}{suffix}"]
        known = wanted > SMALLEST_LOG
        found = law.log_density(x, level)
        close(found[known], wanted[known])
        assert torch.isfinite(found).all()
    known = STORED[f"out/logp_{classes}"] > SMALLEST_LOG
    close(law.score(x, sigma)[known], STORED[f"out/score_{classes}"][known])


def test_network() -> None:
    params = {
        k.removeprefix("param/net."): v.float() for k, v in STORED.items() if k.startswith("param/net.")
    }
    net = ToyDenoiser(*params["layers.2.weight"].shape[:1], layers=len(params) - 2)
    net.load_state_dict(params)
    close(net.log_density(STORED["in/x"], STORED["in/sigma"]), STORED["out/net_logp"])
    close(net.score(STORED["in/x"], STORED["in/sigma"]), STORED["out/net_score"])
