"""EDM2's forward pass: ours in evaluation, eager and compiled, against a plain implementation of the same arithmetic.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/edm2_forward.py [--quick]`.
Prints a Markdown table of CPU milliseconds of one process, the least of several turns that the sides take. "Plain" normalises every weight
at every call and computes in the library's default memory format, operation by operation as the paper writes it.
Compiling takes a CPU minute or more per batch size; `--quick` leaves it out, and the widest net.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # CPU time of one thread

import math  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import conv2d, conv_transpose2d, silu  # noqa: E402

from guidelab.nets.edm2 import Edm2  # noqa: E402


def normalise(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`x` divided by its root mean square over `dims` (plus 1e-4)."""
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    return x / (1e-4 + norm * math.sqrt(norm.numel() / x.numel()))


def mp_silu(x: Tensor) -> Tensor:
    return silu(x) / 0.596


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    return a.lerp(b, t) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a: Tensor, b: Tensor) -> Tensor:
    scale = math.sqrt((a.shape[1] + b.shape[1]) / 0.5)
    return torch.cat(
        [a * (scale / math.sqrt(a.shape[1]) / 2), b * (scale / math.sqrt(b.shape[1]) / 2)], dim=1
    )


class Plain:
    """The same function as an `Edm2` without a patch stem and not lean, from its state, one operation at a time.

    Args:
        net: gives the parameters, the order of the blocks and the constants.
    Source: Karras et al. 2024, arXiv:2312.02696, appendix B.
    """

    def __init__(self, net: Edm2, head_channels: int = 64) -> None:
        self.state: Mapping[str, Tensor] = {k: v.detach() for k, v in net.state_dict().items()}
        self.encoder, self.decoder = list(net.unet.enc), list(net.unet.dec)
        self.classes, self.sigma_data, self.head_channels = net.classes, net.sigma_data, head_channels

    def weighted(self, x: Tensor, name: str, gain: Tensor | float = 1.0) -> Tensor:
        """Magnitude-preserving convolution or linear layer `name` of `x`."""
        stored = self.state[f"unet.{name}.weight"]
        weight = normalise(stored, tuple(range(1, stored.ndim))) * (gain / math.sqrt(stored[0].numel()))
        return x @ weight.T if weight.ndim == 2 else conv2d(x, weight, padding=weight.shape[-1] // 2)

    def has(self, name: str) -> bool:
        return f"unet.{name}.weight" in self.state

    def block(self, name: str, x: Tensor, emb: Tensor) -> Tensor:
        """One block; `name` says its side and its resampling."""
        filters = x.new_full((x.shape[1], 1, 2, 2), 0.25)
        if name.endswith("_down"):
            x = conv2d(x, filters, groups=x.shape[1], stride=2)
        if name.endswith("_up"):
            x = conv_transpose2d(x, filters * 4, groups=x.shape[1], stride=2)
        encoder = name.startswith("enc")
        if encoder:
            x = self.weighted(x, f"{name}.conv_skip") if self.has(f"{name}.conv_skip") else x
            x = normalise(x, (1,))
        y = self.weighted(mp_silu(x), f"{name}.conv_res0")
        scale = self.weighted(emb, f"{name}.emb_linear", self.state[f"unet.{name}.emb_gain"]) + 1
        y = self.weighted(mp_silu(y * scale[:, :, None, None]), f"{name}.conv_res1")
        if not encoder and self.has(f"{name}.conv_skip"):
            x = self.weighted(x, f"{name}.conv_skip")
        x = mp_sum(x, y, 0.3)
        if self.has(f"{name}.attn_qkv"):
            x = mp_sum(x, self.attention(name, x), 0.3)
        return x.clip(-256, 256)

    def attention(self, name: str, x: Tensor) -> Tensor:
        y = self.weighted(x, f"{name}.attn_qkv")
        y = y.reshape(len(y), x.shape[1] // self.head_channels, -1, 3, x.shape[2] * x.shape[3])
        q, k, v = normalise(y, (2,)).unbind(3)  # [B, heads, channels, pixels]
        weights = torch.einsum("nhcq,nhck->nhqk", q, k / math.sqrt(q.shape[2])).softmax(dim=3)
        mixed = torch.einsum("nhqk,nhck->nhcq", weights, v)
        return self.weighted(mixed.reshape(x.shape), f"{name}.attn_proj")

    def embedding(self, sigma: Tensor, cond: Tensor | None) -> Tensor:
        angle = (sigma.log() / 4)[:, None] * self.state["unet.emb_fourier.freqs"]
        waves = (angle + self.state["unet.emb_fourier.phases"]).cos() * math.sqrt(2)
        emb = self.weighted(waves, "emb_noise")
        if self.classes:
            labels = emb.new_zeros(len(emb), self.classes)
            if cond is not None:
                labels[torch.arange(len(cond)), cond] = 1
            emb = mp_sum(emb, self.weighted(labels * math.sqrt(self.classes), "emb_label"), 0.5)
        return mp_silu(emb)

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Denoised `[B, C, H, W]`."""
        level = sigma[:, None, None, None]
        total = (level**2 + self.sigma_data**2).sqrt()
        emb = self.embedding(sigma, cond)
        y = x / total
        y = torch.cat([y, torch.ones_like(y[:, :1])], dim=1)
        skips = []
        for name in self.encoder:
            y = self.weighted(y, f"enc.{name}") if "conv" in name else self.block(f"enc.{name}", y, emb)
            skips.append(y)
        for name in self.decoder:
            y = mp_cat(y, skips.pop()) if "block" in name else y
            y = self.block(f"dec.{name}", y, emb)
        y = self.weighted(y, "out_conv", self.state["unet.out_gain"])
        return (self.sigma_data / total) ** 2 * x + level * self.sigma_data / total * y


def random_net(channels: int, resolution_px: int, image_channels: int, classes: int) -> Edm2:
    """A net with random weights and gains away from 0, so that every part of it matters."""
    generator = torch.Generator().manual_seed(channels)
    net = Edm2(resolution_px, image_channels, classes, channels, generator=generator)
    for name, parameter in net.named_parameters():
        if name.endswith("_gain"):
            parameter.data.fill_(0.5)
    return net.requires_grad_(False).eval()


def inputs(net: Edm2, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images, noise levels and labels of one batch."""
    generator = torch.Generator().manual_seed(batch)
    sigma = torch.randn(batch, generator=generator).exp()
    shape = batch, net.image_channels, net.resolution_px, net.resolution_px
    x = torch.randn(shape, generator=generator) * (1 + sigma[:, None, None, None])
    return x, sigma, torch.randint(net.classes, (batch,), generator=generator)


def milliseconds(sides: Mapping[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Least CPU milliseconds per call of each side, taking turns."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            start = time.process_time()
            call()
            spent[name].append(1000 * (time.process_time() - start))
    return {name: min(values) for name, values in spent.items()}


@torch.no_grad()
def compare(net: Edm2, batch: int, repeats: int, *, compile_it: bool) -> str:
    """One row of the table; fails where the outputs differ by more than 1e-5 of the largest."""
    x, sigma, cond = inputs(net, batch)
    plain = Plain(net)
    sides: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain(x, sigma, cond),
        "ours": lambda: net(x, sigma, cond),
    }
    if compile_it:
        fast = net.compiled(dynamic=False)
        sides["compiled"] = lambda: fast(x, sigma, cond)
    exact = sides["plain"]()
    error = {name: float((call() - exact).abs().max() / exact.abs().max()) for name, call in sides.items()}
    assert max(error.values()) <= 1e-5, error
    cost = milliseconds(sides, repeats)
    ratios = [f"{cost['plain'] / cost[name]:.2f}" for name in ("ours", "compiled") if name in cost]
    cells = [f"{cost[name]:.1f}" for name in cost] + ([] if compile_it else ["-"]) + ratios
    cells += ([] if compile_it else ["-"]) + [f"{max(error.values()):.0e}"]
    width = net.unet.plan.channels
    return f"| {width} channels, {net.resolution_px} px, batch {batch} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="32 channels only, nothing compiled")
    parser.add_argument(
        "--compile", type=int, nargs="*", default=[1, 8, 32], help="batch sizes (32 channels)"
    )
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    compiled = [] if options.quick else options.compile
    torch.set_num_threads(1)
    print("| | plain | ours | compiled | times faster | compiled | largest difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    small = random_net(32, 32, 3, 10)
    for batch, repeats in ((1, 3 * options.repeats), (8, options.repeats), (32, options.repeats)):
        print(
            compare(small, batch, 3 if options.quick else repeats, compile_it=batch in compiled), flush=True
        )
    if not options.quick:
        print(compare(random_net(128, 64, 4, 1000), 1, options.repeats, compile_it=False), flush=True)


if __name__ == "__main__":
    main()
