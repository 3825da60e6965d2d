"""Networks of discrete diffusions as denoisers: parametrisation, and the variance of an evaluation just made."""

import math

import pytest
import torch
from torch import nn

from guidelab.core.chain import respaced
from guidelab.core.denoiser import per_sample
from guidelab.core.guidance import Guided, Reference
from guidelab.core.samplers.chain import ddpm, posterior
from guidelab.nets.vp import VpNet


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Remembering(VpNet):
    """Predicts noise and variance from its condition; counts its evaluations."""

    def __init__(self, learn_sigma=True):
        super().__init__(2, 4, 3, learn_sigma, "linear")
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def raw(self, x_vp, steps, cond):
        self.calls.append((steps.tolist(), cond))
        label = torch.full((len(x_vp),), 3) if cond is None else cond
        label = per_sample(label.to(x_vp.dtype), x_vp)
        out = [0.3 * x_vp + 0.1 * label, 0.2 * label - 0.5 + 0 * x_vp]
        return torch.cat(out if self.learn_sigma else out[:1], dim=1)


def test_learned_variance_is_that_of_the_evaluation_just_made():
    net = Remembering().eval().requires_grad_(False)
    chain = respaced(net.schedule, "6")
    guided = Guided(net, [Reference(lambda x, s, c: net(x, s, None), 1.5, channels=3)])
    cond = torch.tensor([0, 2])
    x = normal(2, 4, 2, 2)
    step = posterior(guided, x, chain, 3, cond, variance=net.variance)
    assert len(net.calls) == 2  # with and without the class; none for the variance
    t = chain.transitions[3]
    fraction = per_sample((0.2 * cond - 0.5 + 1) / 2, x)
    wanted = fraction * t.log_variance_large + (1 - fraction) * t.log_variance_small
    torch.testing.assert_close(
        step.log_variance, wanted.expand_as(x)
    )  # the class's own, not the null class's
    ddpm(guided, x, chain, cond, variance=net.variance, noise=lambda step: torch.zeros_like(x))
    assert len(net.calls) == 2 + 2 * 6
    assert [steps for steps, _ in net.calls[2::2]] == [[float(s)] * 2 for s in chain.steps_original[::-1]]


def test_variance_of_anything_else_is_evaluated_anew():
    net = Remembering().eval()
    x, sigma, cond = normal(2, 4, 2, 2), torch.full((2,), 0.7), torch.tensor([0, 2])
    net(x, sigma, cond)
    kept = net.log_variance(x, sigma, cond, -3.0, -1.0)
    assert len(net.calls) == 1 and not kept.requires_grad
    for asked in ((x.clone(), sigma, cond), (x, sigma.clone(), cond), (x, sigma, cond.clone())):
        before = len(net.calls)
        torch.testing.assert_close(net.log_variance(*asked, -3.0, -1.0), kept)
        assert len(net.calls) == before + 1
    x.add_(1)  # written to: no longer what was evaluated
    net.log_variance(x, sigma, asked[2], -3.0, -1.0)
    assert len(net.calls) == before + 2
    assert not torch.equal(net.log_variance(x, sigma, None, -3.0, -1.0), kept)
    fixed = Remembering(learn_sigma=False)
    assert fixed.variance == "large"
    with pytest.raises(ValueError, match="no variance"):
        fixed.log_variance(x, sigma, cond, -3.0, -1.0)


def test_the_wrapper_is_the_papers_parametrisation():
    net = Remembering().eval().requires_grad_(False)
    x, cond = normal(2, 4, 2, 2), torch.tensor([0, 2])
    for step in (0, 31, 999):
        left = float(net.schedule.alphas_cumprod[step])
        sigma = torch.full((2,), net.schedule.sigma_of(step))
        eps = net.raw(x, torch.full((2,), float(step)), cond)[:, :4]
        denoised = net(x / math.sqrt(left), sigma, cond)
        torch.testing.assert_close(
            denoised, (x - math.sqrt(1 - left) * eps) / math.sqrt(left), rtol=1e-4, atol=1e-4
        )
        assert net.calls[-1][0] == [step, step]
    assert net(x, torch.tensor([0.5, 100.0]), None).dtype == torch.float32  # any noise level, and no class
