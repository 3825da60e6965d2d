"""The guidance gradient of the paper's CIFAR-10 discriminator: ours, a plain one, and one call of the denoiser.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/discriminator_gradient.py`.
Prints a Markdown table of GFLOP and CPU milliseconds per image (least of the repetitions, routes interleaved in one
process) and the largest relative difference of the gradients. Weights are random: only sizes matter here.

"Plain" is ADM's classifier as commonly written: parameters that require gradients, attention by two einsums whose
block is recomputed in the backward pass, which differentiates its parameters as well. The denoiser is a U-Net with
the sizes of EDM's for CIFAR-10 (DDPM++: 128 channels x 2, 2, 2, four blocks, attention at 16 px, 55.7 M parameters).
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # CPU seconds of one thread

import copy  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import (  # noqa: E402
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from guidelab.core.guidance import Potential  # noqa: E402
from guidelab.nets.adm_blocks import (  # noqa: E402
    AttentionBlock,
    ResBlock,
    TimeEmbedding,
    initialise,
    normalisation,
)
from guidelab.nets.image_discriminator import AdmDiscriminator  # noqa: E402


class Recomputed(torch.autograd.Function):
    """Keeps nothing but its inputs, and differentiates inputs and parameters in the backward pass."""

    @staticmethod
    def forward(ctx: Any, run: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.run, ctx.x, ctx.parameters = run, x, parameters
        with torch.no_grad():
            return run(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            x = ctx.x.detach().requires_grad_(True)
            out = ctx.run(x)
        return None, *torch.autograd.grad(out, (x, *ctx.parameters), gradients[0])


class PlainAttention(AttentionBlock):
    """The same block written out: scores and softmax in memory, recomputed in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Recomputed.apply(self.attend, x, *self.parameters())
        return out

    def attend(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        flat = x.reshape(b, c, -1)
        # functions instead of modules: the counter of operations cannot follow modules in here
        normed = functional.group_norm(flat, self.norm.num_groups, self.norm.weight, self.norm.bias)
        qkv = functional.conv1d(normed, self.qkv.weight, self.qkv.bias)
        q, k, v = qkv.reshape(b * self.heads, -1, height * width).chunk(3, dim=1)
        scale = q.shape[1] ** -0.25
        weights = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), dim=-1)
        attended = torch.einsum("bts,bcs->bct", weights, v).reshape(b, c, -1)
        projected = functional.conv1d(attended, self.proj_out.weight, self.proj_out.bias)
        return (flat + projected).reshape(x.shape)


class Denoiser(nn.Module):
    """A U-Net of the sizes of EDM's DDPM++ for CIFAR-10; blocks as in ADM, embedding added, one attention head."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        width, blocks, sides = 256, 4, (32, 16, 8)
        self.embedding = TimeEmbedding(128)
        self.first = nn.Conv2d(3, 128, 3, padding=1)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()

        def block(channels: int, out: int, attends: bool, down: bool = False) -> nn.ModuleList:
            layers: list[nn.Module] = [ResBlock(channels, 512, out, False, down)]
            return nn.ModuleList([*layers, *([AttentionBlock(out, 1)] if attends else [])])

        channels, skips = 128, [128]
        for side in sides:
            if side != sides[0]:
                self.encoder.append(block(channels, channels, False, True))
                skips.append(channels)
            for _ in range(blocks):
                self.encoder.append(block(channels, width, side == 16))
                channels = width
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, True), block(width, width, False)])
        self.up = nn.ModuleList([block(width, width, False) for _ in sides[1:]])
        for side in reversed(sides):
            for i in range(blocks + 1):
                self.decoder.append(block(width + skips.pop(), width, side == 16 and i == blocks))
        self.last = nn.Sequential(normalisation(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))
        initialise(self, generator)

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        emb = self.embedding(sigma.log() / 4)
        h = self.first(x)
        skips = [h]

        def run(layers: nn.Module, h: Tensor) -> Tensor:
            for layer in layers:  # type: ignore[attr-defined]
                h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
            return h

        for layers in self.encoder:
            h = run(layers, h)
            skips.append(h)
        for layers in self.middle:
            h = run(layers, h)
        for i, layers in enumerate(self.decoder):
            if i in (5, 10):
                h = run(self.up[i // 5 - 1], functional.interpolate(h, scale_factor=2))
            h = run(layers, torch.cat([h, skips.pop()], dim=1))
        out: Tensor = self.last(h)
        return out


def discriminator(generator: torch.Generator) -> AdmDiscriminator:
    """The paper's for 32 px, unconditional; every parameter random."""
    extractor = {"resolution_px": 32, "image_channels": 3, "classes": 1000}
    net = AdmDiscriminator(32, 3, extractor, generator=generator)
    with torch.no_grad():
        for parameter in net.parameters():  # what starts at zero takes part
            if not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def plain(net: AdmDiscriminator) -> AdmDiscriminator:
    """A copy as commonly written."""
    net = copy.deepcopy(net).requires_grad_(True)
    for module in net.modules():
        if isinstance(module, AttentionBlock):
            module.__class__ = PlainAttention
    return net


class Counter(TorchDispatchMode):
    """Counts operations as they run, backward passes inside functions included (torch's counter refuses those)."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        name = str(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        elif name.endswith("flash_attention_for_cpu"):
            self.total += sdpa_flop_count(*(t.shape for t in args[:3]))
        elif name.endswith("flash_attention_for_cpu_backward"):
            self.total += sdpa_backward_flop_count(*(t.shape for t in args[:4]))
        return out


def gflop(call: Callable[[], Tensor], batch: int) -> float:
    """GFLOP per image (2 per multiplication and addition), attention included."""
    counter = Counter()
    with counter:
        call()
    return counter.total / batch / 1e9


def main() -> None:
    """Time every route once per repetition, interleaved, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.batch, 3, 32, 32, generator=generator)
    sigma = torch.full((options.batch,), 0.5)
    net = discriminator(generator)
    plain_net = plain(net)
    frozen = copy.deepcopy(net).requires_grad_(False)
    last = copy.deepcopy(frozen).to(memory_format=torch.channels_last)
    denoiser = Denoiser(generator).eval().requires_grad_(False)
    denoiser_last = copy.deepcopy(denoiser).to(memory_format=torch.channels_last)
    print(f"denoiser {sum(p.numel() for p in denoiser.parameters()):,} parameters, "
          f"discriminator {sum(p.numel() for p in net.parameters()):,}, batch {options.batch}\n")  # fmt: skip

    def evaluate(of: nn.Module) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.no_grad():
                out: Tensor = of(x, sigma, None)
            return out

        return call

    routes: dict[str, Callable[[], Tensor]] = {
        "denoiser call": evaluate(denoiser),
        "denoiser call, channels_last": evaluate(denoiser_last),
        "gradient, plain": lambda: Potential(plain_net, 1.0).delta(x, sigma, None, x),
        "gradient, frozen, nothing recomputed": lambda: Potential(frozen, 1.0).delta(x, sigma, None, x),
        "gradient, the same, channels_last": lambda: Potential(last, 1.0).delta(x, sigma, None, x),
        "log-ratio alone, channels_last": evaluate(last),
    }
    work = {name: gflop(route, options.batch) for name, route in routes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    found: dict[str, Tensor] = {}
    for _ in range(options.repeats):
        for name, route in routes.items():
            start = time.process_time()
            found[name] = route()
            seconds[name].append(time.process_time() - start)
    best = {name: 1000 * min(values) / options.batch for name, values in seconds.items()}
    unit = min(best["denoiser call"], best["denoiser call, channels_last"])
    print("| route | GFLOP | CPU ms | of a denoiser call | difference |\n|---|---:|---:|---:|---:|")
    for name, value in best.items():
        difference = ""
        if name.startswith("gradient"):
            wanted = found["gradient, plain"]
            difference = f"{float((found[name] - wanted).abs().max() / wanted.abs().max()):.0e}"
        print(f"| {name} | {work[name]:.1f} | {value:.0f} | {value / unit:.2f} | {difference} |")


if __name__ == "__main__":
    main()
