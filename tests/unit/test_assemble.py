"""A sampler's part of params.yaml becomes one denoiser: what must never happen is a limit of guidance that is ignored."""

import pytest
import torch
from torch import nn

from guidelab.assemble import Nets, assemble
from guidelab.core.denoiser import at_step


class Constant(nn.Module):
    classes = 0

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, sigma, cond=None):
        return torch.full_like(x, self.value)


@pytest.mark.parametrize(
    ("lo", "hi", "on"),
    [(0.0, None, [True, True, True]), (0.3, None, [False, True, True]), (0.0, 2.0, [True, True, False])],
)
def test_one_limit_alone_switches_guidance_off(lo, hi, on):
    term = {
        "method": "reference",
        "ref": "weak",
        "disc": None,
        "weight": 2.0,
        "sigma_lo": lo,
        "sigma_hi": hi,
        "stages": "both",
    }
    spec = {"main": "main", "terms": [term], "sampler": {"dtype": "float32"}}
    spec["degrade"] = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "weak")}
    predict = assemble(spec, Nets({"main": Constant(1.0), "weak": Constant(0.0)}, {}), None).predict
    found = [
        float(at_step(predict, s)(torch.zeros(1, 2), torch.full((1,), s), None)[0, 0])
        for s in (0.1, 1.0, 5.0)
    ]
    assert found == [2.0 if there else 1.0 for there in on]
