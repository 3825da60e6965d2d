"""EDM's networks written the slow and obvious way, in float64 but for the embedding, from released names: what ours is compared with."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, one_hot, pad, silu

State = dict[str, Tensor]


def blurred(x: Tensor, taps: list[float], up: bool, down: bool) -> Tensor:
    """Zeros between the pixels, a border of zeros, every tap of the filter as a shifted copy, every second pixel."""
    line = torch.tensor(taps, dtype=x.dtype)
    kernel = torch.outer(line, line) / line.sum() ** 2 * (4 if up else 1)
    size, border = len(taps), (len(taps) - 1) // 2
    if up:
        b, c, h, w = x.shape
        spread = x.new_zeros(b, c, 2 * h - 1, 2 * w - 1)
        spread[:, :, ::2, ::2] = x
        x, border, kernel = spread, size - 1 - border, kernel.flip(0, 1)
    x = pad(x, [border] * 4)
    h, w = x.shape[2] - size + 1, x.shape[3] - size + 1
    out = sum(kernel[i, j] * x[:, :, i : i + h, j : j + w] for i in range(size) for j in range(size))
    assert isinstance(out, Tensor)
    return out[:, :, ::2, ::2] if down else out


class Plain:
    """One network: `net(x, sigma, labels)` with labels one-hot `[B, classes]` or None."""

    def __init__(self, state: State, config: dict[str, Any], precond: str) -> None:
        self.state = {name.removeprefix("model."): value.double() for name, value in state.items()}
        self.song = config["model_type"] == "SongUNet"
        self.config, self.precond = config, precond
        self.taps = list(config.get("resample_filter", [1, 1]))
        self.scale = math.sqrt(0.5) if self.song else 1.0
        self.eps = 1e-6 if self.song else 1e-5

    def __call__(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None, augment: Tensor | None = None
    ) -> Tensor:
        x, s = (
            x.float().double(),
            sigma.float().double().reshape(-1, 1, 1, 1),
        )  # what is rounded in released nets
        data = self.config.get("sigma_data", 0.5)
        if self.precond == "EDMPrecond":
            root = (s**2 + data**2) ** 0.5
            skip, out, scale = data**2 / root**2, s * data / root, 1 / root
        elif self.precond == "VEPrecond":
            skip, out, scale = s**0, s, s**0
        else:
            skip, out, scale = s**0, -s, (s**2 + 1) ** -0.5
        raw = self.raw(scale * x, self.noise(sigma.float()), labels, augment)
        return skip * x + out * raw[:, : x.shape[1]]

    def noise(self, sigma: Tensor) -> Tensor:
        """The network's noise input, in float32 as it was trained: a time near 650 has errors that its waves show."""
        if self.precond == "EDMPrecond":
            return sigma.log() / 4
        if self.precond == "VEPrecond":
            return (sigma / 2).log()
        if self.precond == "VPPrecond":
            return 999 * (((0.1**2 + 39.8 * (sigma**2 + 1).log()) ** 0.5 - 0.1) / 19.9)
        return 999 - (sigma[:, None] - self.state["u"].float()).abs().argmin(-1).float()

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x.double() @ self.state[name + ".weight"].T
        return y + self.state[name + ".bias"] if name + ".bias" in self.state else y

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[name + ".weight"]
        return conv2d(x, weight, self.state[name + ".bias"], padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = min(32, x.shape[1] // 4)
        return group_norm(x, groups, self.state[name + ".weight"], self.state[name + ".bias"], self.eps)

    def block(self, name: str, x: Tensor, emb: Tensor) -> Tensor:
        up, down = name.endswith("_up"), name.endswith("_down")

        def moved(y: Tensor) -> Tensor:
            return blurred(y, self.taps, up, down) if up or down else y

        h = self.conv(name + ".conv0", moved(silu(self.norm(name + ".norm0", x))))
        told = self.linear(name + ".affine", emb)[:, :, None, None]
        if self.song:
            h = self.norm(name + ".norm1", h + told)
        else:
            scale, shift = told.chunk(2, 1)
            h = self.norm(name + ".norm1", h) * (1 + scale) + shift
        h = self.conv(name + ".conv1", silu(h))
        x = moved(x)
        x = self.conv(name + ".skip", x) if name + ".skip.weight" in self.state else x
        x = (x + h) * self.scale
        return self.attended(name, x) if name + ".qkv.weight" in self.state else x

    def attended(self, name: str, x: Tensor) -> Tensor:
        heads = 1 if self.song else x.shape[1] // 64
        b, c, h, w = x.shape
        qkv = self.conv(name + ".qkv", self.norm(name + ".norm2", x)).reshape(b, heads, c // heads, 3, h * w)
        q, k, v = qkv[:, :, :, 0], qkv[:, :, :, 1], qkv[:, :, :, 2]
        weights = (torch.einsum("bncq,bnck->bnqk", q, k) / math.sqrt(c // heads)).softmax(-1)
        read = torch.einsum("bnqk,bnck->bncq", weights, v).reshape(x.shape)
        return (x + self.conv(name + ".proj", read)) * self.scale

    def embedded(self, noise: Tensor, labels: Tensor | None, augment: Tensor | None) -> Tensor:
        width = self.state["map_layer0.weight"].shape[1]
        if "map_noise.freqs" in self.state:
            waves = 2 * math.pi * self.state["map_noise.freqs"].float()
        else:
            last = width // 2 - (1 if self.song else 0)
            waves = torch.tensor([1e-4 ** (i / last) for i in range(width // 2)])
        angles = (noise[:, None] * waves).double()
        emb = torch.cat([angles.sin(), angles.cos()] if self.song else [angles.cos(), angles.sin()], 1)
        classes = self.config.get("label_dim", 0)
        labels = torch.zeros(1, classes) if labels is None else labels
        if self.song and classes:
            emb = emb + self.linear("map_label", labels * math.sqrt(classes))
        if augment is not None:
            emb = emb + self.linear("map_augment", augment)
        emb = self.linear("map_layer1", silu(self.linear("map_layer0", emb)))
        if not self.song and classes:
            emb = emb + self.linear("map_label", labels)
        return silu(emb)

    def raw(self, x: Tensor, noise: Tensor, labels: Tensor | None, augment: Tensor | None) -> Tensor:
        """The network as the papers draw it, level by level."""
        emb = self.embedded(noise, labels, augment)
        levels, depth = len(self.config["channel_mult"]), self.config["num_blocks"]
        sides = [self.config["img_resolution"] >> level for level in range(levels)]
        encoder, decoder = self.config.get("encoder_type"), self.config.get("decoder_type")
        image, kept = x, list[Tensor]()
        for level, side in enumerate(sides):
            name = f"enc.{side}x{side}_"
            x = self.block(name + "down", x, emb) if level else self.conv(name + "conv", x)
            if level and encoder == "skip":
                image = blurred(image, self.taps, False, True)
                x = x + self.conv(name + "aux_skip", image)
            if level and encoder == "residual":
                # a convolution and a filter commute where both see zeros outside: first wide, then every second pixel
                wide = conv2d(
                    image,
                    self.state[name + "aux_residual.weight"],
                    padding=1 + (len(self.taps) - 1) // 2,
                )
                border = (len(self.taps) - 1) // 2
                wide = blurred(wide, self.taps, False, False)[:, :, border:, border:][:, :, ::2, ::2]
                wide = wide[:, :, : x.shape[2], : x.shape[3]]
                x = image = (x + wide + self.state[name + "aux_residual.bias"][:, None, None]) * math.sqrt(
                    0.5
                )
            kept.append(x)
            for index in range(depth):
                x = self.block(f"{name}block{index}", x, emb)
                kept.append(x)
        output: Tensor | None = None
        for level in reversed(range(levels)):
            name = f"dec.{sides[level]}x{sides[level]}_"
            for part in ["in0", "in1"] if level == levels - 1 else ["up"]:
                x = self.block(name + part, x, emb)
            for index in range(depth + 1):
                x = self.block(f"{name}block{index}", torch.cat([x, kept.pop()], 1), emb)
            if self.song and (level == 0 or decoder == "skip"):
                more = self.conv(name + "aux_conv", silu(self.norm(name + "aux_norm", x)))
                output = more if output is None else blurred(output, self.taps, True, False) + more
        return self.conv("out_conv", silu(self.norm("out_norm", x))) if output is None else output


def sample(net: Callable[..., Tensor], noise: Tensor, labels: Tensor | None, times: list[float]) -> Tensor:
    """EDM's deterministic sampler as its paper writes it; `times` end in 0."""
    x = noise.double() * times[0]
    for t, below in pairwise(times):
        slope = (x - net(x, torch.full((len(x),), t), labels)) / t
        ahead = x + (below - t) * slope
        if below:
            slope = (slope + (ahead - net(ahead, torch.full((len(x),), below), labels)) / below) / 2
        x = x + (below - t) * slope
    return x


def labels_of(classes: int, chosen: list[int]) -> Tensor | None:
    """One-hot rows, or None of no classes."""
    return one_hot(torch.tensor(chosen) % classes, classes).float() if classes else None
