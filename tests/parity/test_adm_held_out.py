"""ADM's and DiT's comparisons take everything from the file: other networks and chains, computed plainly here."""

import math

import family_adm
import family_dit
import numpy as np
import pytest
import test_parity
import torch
from family_dg import sizes

from guidelab.nets.adm import Adm
from guidelab.nets.adm_encoder import AdmEncoder
from guidelab.nets.dit import Dit

HALF = {
    "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [1], "channel_mult": [1, 1],
    "num_head_channels": 16, "use_scale_shift_norm": True, "resblock_updown": True, "pool": "attention",
}  # fmt: skip
CASES = {
    "unconditional-large-variance": (
        {"model_channels": 32, "num_res_blocks": 2, "attention_resolutions": [1, 2], "channel_mult": [1, 2],
         "num_head_channels": 16, "use_scale_shift_norm": False, "resblock_updown": True},
        {"classes": 0, "learn_sigma": False, "noise_schedule": "linear", "timestep_respacing": "ddim5"},
    ),
    "heads-convolutions-cosine": (
        {"model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [4], "channel_mult": [1, 1, 2],
         "num_heads": 4, "use_scale_shift_norm": True, "resblock_updown": False, "use_new_attention_order": True},
        {"classes": 6, "learn_sigma": True, "noise_schedule": "cosine", "timestep_respacing": "10,5"},
    ),
}  # fmt: skip


def awake(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(False)


def betas_of(name):
    if name == "linear":
        return np.linspace(1e-4, 0.02, 1000)
    left = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - left[1:] / left[:-1], 0.999)


KEPT = {
    "ddim5": list(range(0, 1000, 200)),
    "10,5": [0, 55, 111, 166, 222, 277, 333, 388, 444, 499, 500, 625, 750, 874, 999],
    "4": [0, 333, 666, 999],
}


def chain_of(name, respacing):
    alphas = np.cumprod(1 - betas_of(name))[KEPT[respacing]]
    return alphas, np.append(1.0, alphas[:-1])


def file_of(unet, how, seed=0):
    generator = torch.Generator().manual_seed(seed)
    each = unet.get("num_head_channels")
    net = awake(Adm(
        8, 3, how["classes"], unet["model_channels"], unet["channel_mult"], unet["num_res_blocks"],
        [8 // f for f in unet["attention_resolutions"]], head_channels=each, heads=unet.get("num_heads", 1),
        scale_shift=unet["use_scale_shift_norm"], resblock_updown=unet["resblock_updown"],
        learn_sigma=how["learn_sigma"], split_first=unet.get("use_new_attention_order", False), generator=generator,
    ), seed)  # fmt: skip
    classifier = awake(
        AdmEncoder(resolution_px=8, image_channels=3, outputs=6, generator=generator, **sizes(HALF, 8)),
        seed + 1,
    )
    tensors = {
        "in/x": torch.randn(3, 3, 8, 8, generator=generator),
        "in/noise": torch.randn(3, 3, 8, 8, generator=generator),
        "in/y": torch.tensor([1, 0, 5]),
        "in/t_index": torch.tensor([0, 2, len(KEPT[how["timestep_respacing"]]) - 1]),
        "in/timesteps": torch.tensor([10.0, 501.0, 999.0]),
    }
    config = {
        "resolution": 8, "unet": unet, "classifier": HALF, "classifier_scale": 2.5,
        **{key: how[key] for key in ("noise_schedule", "timestep_respacing")},
    }  # fmt: skip
    for role, part in (("net", net.unet), ("classifier", classifier)):
        tensors |= {f"param/{role}.{name}": value for name, value in part.state_dict().items()}
    return net, classifier, tensors, config


def gradient(classifier, x, step, label):
    point = x.clone().requires_grad_(True)
    log_p = (
        classifier(point, torch.full((len(x),), float(step))).log_softmax(1).gather(1, label[:, None]).sum()
    )
    return torch.autograd.grad(log_p, point)[0]


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_another_configuration(case):
    unet, how = CASES[case]
    net, classifier, tensors, config = file_of(unet, how)
    alphas, before = chain_of(how["noise_schedule"], how["timestep_respacing"])
    kept = KEPT[how["timestep_respacing"]]
    x, y = tensors["in/x"], tensors["in/y"]
    found = {"timestep_map": torch.tensor(kept), "alphas_cumprod": torch.from_numpy(alphas)}
    found["model_out_t"] = net.raw(x, tensors["in/timesteps"], y)
    found["classifier_logits"] = classifier(x, tensors["in/timesteps"])
    rows = {name: [] for name in ("p_mean", "p_variance", "pred_xstart", "p_mean_guided")}
    for i, index in enumerate(tensors["in/t_index"].tolist()):
        one, label, a, b = x[i : i + 1], y[i : i + 1], alphas[index], before[index]
        out = net.raw(one, torch.tensor([float(kept[index])]), label)
        clean = ((one - math.sqrt(1 - a) * out[:, :3]) / math.sqrt(a)).clamp(-1, 1)
        beta = 1 - a / b
        small = (
            beta * (1 - b) / (1 - a)
            if index
            else (1 - alphas[1] / alphas[0]) * (1 - alphas[0]) / (1 - alphas[1])
        )
        if how["learn_sigma"]:
            share = (out[:, 3:] + 1) / 2
            variance = torch.exp(share * math.log(beta) + (1 - share) * math.log(small))
        else:
            variance = torch.full_like(one, beta if index else small)
        mean = beta * math.sqrt(b) / (1 - a) * clean + (1 - b) * math.sqrt(1 - beta) / (1 - a) * one
        slope = 2.5 * gradient(classifier, one, kept[index], label)
        for name, value in zip(rows, (mean, variance, clean, mean + variance * slope), strict=True):
            rows[name].append(value)
    found |= {name: torch.cat(parts) for name, parts in rows.items()}
    for name, scale in (("ddim_unguided", 0.0), ("ddim_guided", 2.5)):
        state, label = tensors["in/noise"], y
        for index in reversed(range(len(kept))):
            a, b = alphas[index], before[index]
            out = net.raw(state, torch.full((3,), float(kept[index])), label)
            clean = ((state - math.sqrt(1 - a) * out[:, :3]) / math.sqrt(a)).clamp(-1, 1)
            eps = (state - math.sqrt(a) * clean) / math.sqrt(1 - a)
            if scale:
                eps = eps - math.sqrt(1 - a) * scale * gradient(classifier, state, kept[index], label)
                clean = (state - math.sqrt(1 - a) * eps) / math.sqrt(a)
            state = math.sqrt(b) * clean + math.sqrt(1 - b) * eps
        found[name] = state
    pinned = {f"out/{name}": value.detach() for name, value in found.items()}
    tensors |= pinned
    wrong = test_parity.failures(family_adm.outputs(tensors, config), pinned)
    assert wrong == []
    if case.startswith("heads"):
        one = {"out/model_out_t": pinned.pop("out/model_out_t")}
        others = {**config, "unet": {**unet, "use_new_attention_order": False}}
        given = {name: value for name, value in tensors.items() if name not in pinned}
        assert len(test_parity.failures(family_adm.outputs(given, others), one)) == 1


@pytest.mark.parametrize(("patch", "learn_sigma"), [(1, True), (4, False)])
def test_a_transformer_of_another_configuration(patch, learn_sigma):
    generator = torch.Generator().manual_seed(patch)
    net = awake(
        Dit(4, 4, 7, patch, 40, 3, 5, learn_sigma=learn_sigma, mlp_ratio=2.0, generator=generator), patch
    )
    x, y, t = torch.randn(2, 4, 4, 4, generator=generator), torch.tensor([6, 2]), torch.tensor([0.0, 999.0])
    tensors = {"in/x": x, "in/y": y, "in/t": t, "in/noise": torch.randn(2, 4, 4, 4, generator=generator)}
    tensors |= {f"param/net.{name}": value for name, value in net.transformer.state_dict().items()}
    config = {"net": {"num_heads": 5}, "timestep_respacing": "4", "cfg_scale": 4.0}

    def guided(x, step, labels):
        told, free = net.raw(x, step, labels), net.raw(x, step, torch.full_like(labels, 7))
        mixed = free[:, :3] + 4.0 * (told[:, :3] - free[:, :3])
        return torch.cat([torch.cat([mixed, told[:, 3:]], 1), torch.cat([mixed, free[:, 3:]], 1)])

    alphas, before = chain_of("linear", "4")
    state = tensors["in/noise"]
    for index in reversed(range(4)):
        a, b = alphas[index], before[index]
        eps = guided(state, torch.full((2,), float(KEPT["4"][index])), y)[:2, :4]
        clean = (state - math.sqrt(1 - a) * eps) / math.sqrt(a)
        state = math.sqrt(b) * clean + math.sqrt(1 - b) * eps
    pinned = {
        "out/timestep_map": torch.tensor(KEPT["4"]),
        "out/model_out": net.raw(x, t, y),
        "out/model_out_null": net.raw(x, t, None),
        "out/cfg_out": guided(x, t, y),
        "out/ddim_cfg": state,
    }
    tensors |= pinned
    assert test_parity.failures(family_dit.outputs(tensors, config), pinned) == []
    wrong = test_parity.failures(family_dit.outputs(tensors, {**config, "cfg_scale": 4.01}), pinned)
    assert {line.split(":")[0] for line in wrong} == {"out/cfg_out", "out/ddim_cfg"}
