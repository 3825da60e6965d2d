"""EDM2's class with all of its options, as its paper and facts write the formulas: one line an operation, nothing folded."""

import math

import numpy as np
import torch
from torch.nn import functional

DEFAULTS = {
    "channel_mult": [1, 2, 3, 4], "channel_mult_noise": None, "channel_mult_emb": None, "num_blocks": 3,
    "attn_resolutions": [16, 8], "label_balance": 0.5, "concat_balance": 0.5, "res_balance": 0.3, "attn_balance": 0.3,
    "clip_act": 256, "resample_filter": [1, 1], "channels_per_head": 64, "sigma_data": 0.5, "logvar_channels": 128,
}  # fmt: skip


def normalize(x, dims):
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=torch.float32)
    return x / (1e-4 + norm * math.sqrt(norm.numel() / x.numel()))


def mp_sum(a, b, t):
    return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a, b, t):
    scale = math.sqrt((a.shape[1] + b.shape[1]) / ((1 - t) ** 2 + t**2))
    return torch.cat([scale * (1 - t) / math.sqrt(a.shape[1]) * a, scale * t / math.sqrt(b.shape[1]) * b], 1)


def mp_silu(x):
    return functional.silu(x) / 0.596


def resample(x, taps, mode):
    f = np.float32(taps) / np.float32(taps).sum()
    f = torch.from_numpy(np.outer(f, f)).tile([x.shape[1], 1, 1, 1])
    pad = (len(taps) - 1) // 2
    if mode == "down":
        return functional.conv2d(x, f, groups=x.shape[1], stride=2, padding=pad)
    return functional.conv_transpose2d(x, f * 4, groups=x.shape[1], stride=2, padding=pad)


class Plain:
    """Denoiser and log-variance of a state dict by released names."""

    def __init__(self, state, kwargs):
        self.w, self.o = state, {**DEFAULTS, **kwargs}

    def conv(self, name, x, gain=1.0):
        w = self.w[name + ".weight"]
        w = normalize(w, tuple(range(1, w.ndim))) * (gain / math.sqrt(w[0].numel()))
        return x @ w.t() if w.ndim == 2 else functional.conv2d(x, w, padding=w.shape[-1] // 2)

    def fourier(self, name, x):
        return math.sqrt(2) * torch.cos(torch.outer(x, self.w[name + ".freqs"]) + self.w[name + ".phases"])

    def block(self, name, x, emb, flavor, mode="keep"):
        o, has = self.o, lambda part: f"{name}.{part}.weight" in self.w
        x = x if mode == "keep" else resample(x, o["resample_filter"], mode)
        if flavor == "enc":
            x = normalize(self.conv(name + ".conv_skip", x) if has("conv_skip") else x, 1)
        y = self.conv(name + ".conv_res0", mp_silu(x))
        c = self.conv(name + ".emb_linear", emb, self.w[name + ".emb_gain"]) + 1
        y = self.conv(name + ".conv_res1", mp_silu(y * c[:, :, None, None]))
        if flavor == "dec" and has("conv_skip"):
            x = self.conv(name + ".conv_skip", x)
        x = mp_sum(x, y, o["res_balance"])
        if has("attn_qkv"):
            heads = x.shape[1] // o["channels_per_head"]
            y = self.conv(name + ".attn_qkv", x)
            q, k, v = normalize(y.reshape(len(y), heads, -1, 3, y.shape[2] * y.shape[3]), 2).unbind(3)
            w = torch.einsum("nhcq,nhck->nhqk", q, k / math.sqrt(q.shape[2])).softmax(3)
            y = self.conv(name + ".attn_proj", torch.einsum("nhqk,nhck->nhcq", w, v).reshape(x.shape))
            x = mp_sum(x, y, o["attn_balance"])
        return x if o["clip_act"] is None else x.clip(-o["clip_act"], o["clip_act"])

    def unet(self, x, noise, labels):
        o = self.o
        emb = self.conv("unet.emb_noise", self.fourier("unet.emb_fourier", noise))
        if "unet.emb_label.weight" in self.w:
            emb = mp_sum(
                emb, self.conv("unet.emb_label", labels * math.sqrt(labels.shape[1])), o["label_balance"]
            )
        emb, x, skips = mp_silu(emb), torch.cat([x, torch.ones_like(x[:, :1])], 1), []
        sides = [o["img_resolution"] >> level for level in range(len(o["channel_mult"]))]
        for level, px in enumerate(sides):
            if level:
                x = self.block(f"unet.enc.{px}x{px}_down", x, emb, "enc", "down")
            else:
                x = self.conv(f"unet.enc.{px}x{px}_conv", x)
            skips.append(x)
            for index in range(o["num_blocks"]):
                x = self.block(f"unet.enc.{px}x{px}_block{index}", x, emb, "enc")
                skips.append(x)
        for level, px in reversed(list(enumerate(sides))):
            if level == len(sides) - 1:
                x = self.block(f"unet.dec.{px}x{px}_in0", x, emb, "dec")
                x = self.block(f"unet.dec.{px}x{px}_in1", x, emb, "dec")
            else:
                x = self.block(f"unet.dec.{px}x{px}_up", x, emb, "dec", "up")
            for index in range(o["num_blocks"] + 1):
                x = mp_cat(x, skips.pop(), o["concat_balance"])
                x = self.block(f"unet.dec.{px}x{px}_block{index}", x, emb, "dec")
        return self.conv("unet.out_conv", x, self.w["unet.out_gain"])

    def denoised(self, x, sigma, labels):
        s, sd = sigma[:, None, None, None], self.o["sigma_data"]
        c_skip, c_out, c_in = (
            sd**2 / (s**2 + sd**2),
            s * sd / (s**2 + sd**2).sqrt(),
            1 / (sd**2 + s**2).sqrt(),
        )
        return c_skip * x + c_out * self.unet(c_in * x, sigma.log() / 4, labels)

    def logvar(self, sigma):
        return self.conv("logvar_linear", self.fourier("logvar_fourier", sigma.log() / 4))[:, 0]
