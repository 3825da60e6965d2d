"""The plain side of benchmarks/gpu_throughput.py: the same arithmetic as one writes it down, operation by operation.

Nothing is kept between calls (EDM2's weights are normalised at every one), attention is two products around a
softmax in memory, main net and guide are two forwards, and nothing is compiled.
"""

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from edm2_forward import Plain, mp_silu, mp_sum, normalise
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.adm import Adm
from guidelab.nets.adm_blocks import AttentionBlock
from guidelab.nets.dit import Dit
from guidelab.nets.edm2 import Edm2

Net = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class PlainEdm2(Plain):
    """`Plain` with its labels made on the device."""

    def embedding(self, sigma: Tensor, cond: Tensor | None) -> Tensor:
        angle = (sigma.log() / 4)[:, None] * self.state["unet.emb_fourier.freqs"]
        waves = (angle + self.state["unet.emb_fourier.phases"]).cos() * math.sqrt(2)
        emb = self.weighted(waves, "emb_noise")
        if self.classes and cond is not None:
            labels = functional.one_hot(cond, self.classes).to(emb.dtype) * math.sqrt(self.classes)
            emb = mp_sum(emb, self.weighted(labels, "emb_label"), 0.5)
        return mp_silu(emb)


class TrainablePlain(PlainEdm2):
    """`PlainEdm2` with parameters of its own, normalised in place at every evaluation, and the loss's log-variance."""

    def __init__(self, net: Edm2, head_channels: int) -> None:
        super().__init__(net, head_channels)
        names = {name for name, _ in net.named_parameters()}
        self.state = {
            name: value.clone().requires_grad_(name in names) for name, value in net.state_dict().items()
        }

    def parameters(self) -> list[Tensor]:
        return [value for value in self.state.values() if value.requires_grad]

    def loss(self, x0: Tensor, noise: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """EDM2's loss of a batch: sum over pixels, mean over images."""
        with torch.no_grad():
            for name, weight in self.state.items():
                if name.endswith(".weight"):
                    weight.copy_(normalise(weight, tuple(range(1, weight.ndim))))
        level = sigma[:, None, None, None]
        denoised = Plain.__call__.__wrapped__(self, x0 + level * noise, sigma, cond)  # type: ignore[attr-defined]
        waves = (sigma.log() / 4)[:, None] * self.state["logvar_fourier.freqs"]
        waves = (waves + self.state["logvar_fourier.phases"]).cos() * math.sqrt(2)
        weight = normalise(self.state["logvar_linear.weight"], (1,)) / math.sqrt(waves.shape[1])
        log_variance = (waves @ weight.T).reshape(-1, 1, 1, 1)
        scale = (level**2 + self.sigma_data**2) / (level * self.sigma_data) ** 2
        return (scale / log_variance.exp() * (denoised - x0) ** 2 + log_variance).sum() / len(x0)


class PlainTraining:
    """One iteration as one writes it down: gradients, Adam and two averages, one parameter after the other."""

    def __init__(self, net: Edm2, half: torch.dtype | None, lr: float, head_channels: int) -> None:
        self.net, self.half = TrainablePlain(net, head_channels), half
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=lr, betas=(0.9, 0.99), eps=1e-8)
        self.averages = [[p.detach().clone() for p in self.net.parameters()] for _ in range(2)]

    def step(self, x0: Tensor, noise: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        self.optimiser.zero_grad()
        with torch.autocast(x0.device.type, self.half or torch.float32, enabled=self.half is not None):
            loss = self.net.loss(x0, noise, sigma, cond)
        loss.backward()
        with torch.no_grad():
            for p in self.net.parameters():
                if p.grad is not None:
                    torch.nan_to_num(p.grad, nan=0, posinf=0, neginf=0, out=p.grad)
            self.optimiser.step()
            for average in self.averages:
                for a, p in zip(average, self.net.parameters(), strict=True):
                    a.lerp_(p, 0.01)
        return loss.detach()


class PlainDit:
    """A `Dit` as a denoiser, from its state. Source: Peebles & Xie 2023, arXiv:2212.09748."""

    def __init__(self, net: Dit) -> None:
        self.net = net
        self.depth, self.heads = len(net.transformer.blocks), net.transformer.blocks[0].attn.heads

    def layer(self, x: Tensor, name: str) -> Tensor:
        found: nn.Linear = self.net.transformer.get_submodule(name)  # type: ignore[assignment]
        return functional.linear(x, found.weight, found.bias)

    def attention(self, x: Tensor, name: str) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.layer(x, f"{name}.qkv").reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.layer((weights @ v).transpose(1, 2).reshape(b, t, c), f"{name}.proj")

    def raw(self, x: Tensor, steps: Tensor, labels: Tensor) -> Tensor:
        net = self.net.transformer
        tokens = net.x_embedder.proj(x).flatten(2).transpose(1, 2) + net.pos_embed  # type: ignore[operator]
        modulation = net.t_embedder(steps) + net.y_embedder.embedding_table(labels)  # type: ignore[operator]

        def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
            return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]

        for i in range(self.depth):
            name = f"blocks.{i}"
            parts = self.layer(functional.silu(modulation), f"{name}.adaLN_modulation.1").chunk(6, dim=1)
            y = self.attention(modulated(tokens, *parts[:2]), f"{name}.attn")
            tokens = tokens + parts[2][:, None] * y
            y = self.layer(modulated(tokens, *parts[3:5]), f"{name}.mlp.fc1")
            y = self.layer(functional.gelu(y, approximate="tanh"), f"{name}.mlp.fc2")
            tokens = tokens + parts[5][:, None] * y
        shift, scale = self.layer(functional.silu(modulation), "final_layer.adaLN_modulation.1").chunk(
            2, dim=1
        )
        y = self.layer(modulated(tokens, shift, scale), "final_layer.linear")
        p, side = net.patch_px, net.side
        y = y.reshape(len(y), side, side, p, p, -1)
        return torch.einsum("nhwpqc->nchpwq", y).reshape(len(y), -1, side * p, side * p)

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Denoised `[B, C, H, W]`."""
        level = sigma[:, None, None, None]
        if cond is None:
            cond = torch.full((len(x),), self.net.classes, device=x.device)
        out = self.raw(x / (1 + level**2).sqrt(), self.net.schedule.step_of(sigma), cond)
        return x - level * out[:, : self.net.image_channels].float()


class PlainAttention(AttentionBlock):
    """ADM's attention by two einsums around a softmax. Source: Dhariwal & Nichol 2021, arXiv:2105.05233."""

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        flat = x.reshape(b, c, -1)
        q, k, v = self.qkv(self.norm(flat)).reshape(b * self.heads, -1, flat.shape[2]).chunk(3, dim=1)
        scale = q.shape[1] ** -0.25
        weights = torch.einsum("bct,bcs->bts", q * scale, k * scale).softmax(-1)
        mixed = torch.einsum("bts,bcs->bct", weights, v).reshape(b, c, -1)
        out: Tensor = (flat + self.proj_out(mixed)).reshape(x.shape)
        return out


def plain_adm(net: Adm) -> Adm:
    """A copy of an `Adm` with plain attention, in the library's default memory format."""
    made = copy.deepcopy(net)
    for block in made.modules():
        if isinstance(block, AttentionBlock):
            block.__class__ = PlainAttention
    return made.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def autocast(net: Any, half: torch.dtype | None) -> Net:
    """A net whose products are in a lower precision, its weights rounded at every call."""

    @torch.no_grad()
    def call(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, half or torch.float32, enabled=half is not None):
            found: Tensor = net(x, sigma, cond)
        return found.float()

    return call


def plain_heun(main: Net, ref: Net, weight: float, x: Tensor, cond: Tensor, sigmas: list[float]) -> Tensor:
    """Heun's method with guidance, written out. Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2."""

    def denoised(x: Tensor, sigma: float) -> Tensor:
        level = torch.full((len(x),), sigma, device=x.device)
        reference = ref(x, level, cond)
        return reference + weight * (main(x, level, cond) - reference)

    for now, below in pairwise(sigmas):
        slope = (x - denoised(x, now)) / now
        ahead = x + (below - now) * slope
        if below > 0:
            slope = (slope + (ahead - denoised(ahead, below)) / below) / 2
            ahead = x + (below - now) * slope
        x = ahead
    return x


def plain_steps(
    main: Net, ref: Net | None, weight: float, x: Tensor, cond: Tensor, chain: Any, noises: list[Tensor]
) -> Tensor:
    """DDPM's steps with guidance and the larger fixed variance. Source: Ho et al. 2020, arXiv:2006.11239."""
    for number, t in enumerate(reversed(chain.transitions)):
        level = torch.full((len(x),), t.sigma, device=x.device)
        state = x / math.sqrt(t.alpha_cumprod)
        denoised = main(state, level, cond)
        if ref is not None:
            reference = ref(state, level, None)
            denoised = reference + weight * (denoised - reference)
        x = t.denoised_factor * denoised + t.state_factor * x
        if number + 1 < len(chain):
            x = x + math.exp(0.5 * t.log_variance_large) * noises[number]
    return x
