"""A sampler's part of params.yaml becomes one denoiser.

What must never happen: a limit of guidance, or the stages it acts at, that is ignored.
"""

import pytest
import torch
from sampling_jobs import term
from torch import nn

from guidelab.assemble import Nets, assemble, load_nets
from guidelab.core.denoiser import at_step
from guidelab.core.samplers.heun import heun
from guidelab.io import save_arrays
from guidelab.nets.toy import ToyDenoiser


class Constant(nn.Module):
    """A denoiser that knows one answer."""

    classes = 0

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, sigma, cond=None):
        return torch.full_like(x, self.value)


def guided(**more):
    """Main net 1, reference 0, weight 2: 2 where guidance is on."""
    terms = [term("reference", 2.0, ref="weak", **more)]
    spec = {"main": "main", "terms": terms, "sampler": {"dtype": "float32"}}
    spec["degrade"] = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "weak")}
    return assemble(spec, Nets({"main": Constant(1.0), "weak": Constant(0.0)}, {}), None)


@pytest.mark.parametrize(
    ("lo", "hi", "on"),
    [(0.0, None, [True, True, True]), (0.3, None, [False, True, True]), (0.0, 2.0, [True, True, False])],
)
def test_one_limit_alone_switches_guidance_off(lo, hi, on):
    predict = guided(sigma_lo=lo, sigma_hi=hi).predict
    levels = (0.1, 1.0, 5.0)
    found = [float(at_step(predict, s)(torch.zeros(1, 2), torch.full((1,), s), None)[0, 0]) for s in levels]
    assert found == [2.0 if there else 1.0 for there in on]


@pytest.mark.parametrize(("stages", "second"), [("both", 2.0), ("first", 1.0)])
def test_guidance_of_first_evaluations_is_not_in_the_second(stages, second):
    built = guided(stages=stages)
    ahead = 6.0 - (6.0 - 2.0) / 2  # an Euler step from sigma 2 to 1 with D = 2
    middle = 6.0 - 0.5 * (6.0 - 2.0) / 2 - 0.5 * (ahead - second)
    seen = []
    heun(
        built.predict, torch.full((1, 2), 6.0), [2.0, 1.0, 0.0], None, correct=built.correct,
        callback=lambda step, sigma, x: seen.append(float(x[0, 0])),
    )  # fmt: skip
    assert seen[1] == pytest.approx(middle)


def test_a_net_is_that_of_its_own_training_seed(tmp_path):
    path = tmp_path / "main.safetensors"
    nets = [ToyDenoiser(4, 1, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    held = {f"seed{seed}/{name}": value for seed in (0, 1) for name, value in nets[seed].state_dict().items()}
    config = {"name": "toy", "width": 4, "layers": 1}
    save_arrays(path, held, {"kind": "model", "net": config, "seeds": [0, 1]})
    for seed in (0, 1):
        found = load_nets({"model:main": [str(path)]}, seed).models["main"].state_dict()
        assert all(torch.equal(found[name], value) for name, value in nets[seed].state_dict().items())
