"""Sampling jobs for tests: small nets of several families, in the files a sampler reads."""

import torch

from guidelab.io import save_arrays
from guidelab.nets.dit import Dit
from guidelab.nets.edm2 import Edm2
from guidelab.nets.small_discriminator import SmallDiscriminator

EDM2 = {"resolution_px": 8, "image_channels": 3, "channels": 16, "channel_mult": [1.0, 1.5], "blocks": 1,
        "attention_px": [], "head_channels": 8}  # fmt: skip
DIT = {
    "resolution_px": 8,
    "image_channels": 4,
    "classes": 4,
    "patch_px": 2,
    "width": 16,
    "depth": 2,
    "heads": 2,
}
DISC = {"channels": 8, "resolution_px": 8, "image_channels": 3}
HEUN = {"name": "heun", "steps": 4, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "dtype": "float32"}
DDPM = {"name": "ddpm", "steps": 8, "schedule": "linear", "clip": False, "eta": 0.0, "dtype": "float32"}
DDIM = DDPM | {"name": "ddim", "steps": 8, "eta": 0.5}


def randomised(net, seed, scale=0.2):
    """Every parameter random, so that no part of a net is silent."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return net.eval().requires_grad_(False)


def edm2(seed, classes=4):
    net = Edm2(classes=classes, **EDM2, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():  # a fresh EDM2 net answers nothing: its gains are 0
        for name, parameter in net.named_parameters():
            if name.endswith("_gain"):
                parameter.fill_(0.5)
    return net.eval().requires_grad_(False)


def save_net(path, net, config, seeds=(0,)):
    tensors = {f"seed{s}/{k}": v for s in seeds for k, v in net.state_dict().items()}
    save_arrays(path, tensors, {"kind": "model", "net": config, "seeds": list(seeds)})


def write_nets(folder):
    save_net(folder / "main.safetensors", edm2(0), {"name": "edm2", "classes": 4, **EDM2})
    save_net(folder / "blind.safetensors", edm2(1, 0), {"name": "edm2", "classes": 0, **EDM2})
    save_net(folder / "dit.safetensors", randomised(Dit(**DIT), 2), {"name": "dit", **DIT})
    disc = SmallDiscriminator(**DISC)
    generator = torch.Generator().manual_seed(3)
    state = {
        k: torch.randn(v.shape, generator=generator) * 0.3 if v.is_floating_point() else v
        for k, v in disc.state_dict().items()
    }
    early = {f"it20/seed0/{k}": v * 0.5 if v.is_floating_point() else v for k, v in state.items()}
    config = {"name": "small_discriminator", **DISC}
    save_arrays(
        folder / "guide.safetensors",
        {f"seed0/{k}": v for k, v in state.items()} | early,
        {"kind": "model", "net": config, "seeds": [0], "iterations": [20]},
    )


def term(method, weight, **more):
    base = {"method": method, "ref": None, "disc": None, "weight": weight, "sigma_lo": 0.0, "sigma_hi": None}
    return base | {"stages": "both"} | more


CFG = [term("reference", 2.0, ref="blind")]
DG = [term("discriminator", 1.0, disc="guide", sigma_lo=0.01, sigma_hi=10.0, stages="first")]
DEGRADED = {"main": {"dropout": 0.1, "input_noise": 0.0}, "blind": {"dropout": 0.0, "input_noise": 0.1}}
DIT_CFG = [term("reference", 1.5, ref="null")]


def job(folder, terms, sampler=HEUN, models=("main", "blind"), **more):
    files = {"null": "dit"}  # the same net, called without a class
    degrade = {name: {"dropout": 0.0, "input_noise": 0.0} for name in models}
    inputs = {f"model:{m}": [str(folder / f"{files.get(m, m)}.safetensors")] for m in models}
    if any(t["disc"] for t in terms):
        inputs["disc:guide"] = [str(folder / "guide.safetensors")]
    return {
        "variant": "x", "main": models[0], "terms": terms, "degrade": degrade, "labels": "random", "sampler": sampler,
        "inputs": inputs, "discs": {"guide": {"role": "guide", "seed": None, "iterations": None}}, "train_seeds": [0], "codec": "pixels",
        "blocks": {"a": [0, 9], "b": [100, 104]}, "shard": 4, "code": "c", "latent": None, "precision": "float16",
        "uint8": "edm", "unlabelled": [], "batch": 3, "decode_batch": 2,
    } | more  # fmt: skip


def dit_job(folder, terms=DIT_CFG, sampler=DDPM, **more):
    return job(folder, terms, sampler, models=("dit", "null"), unlabelled=["null"], **more)
