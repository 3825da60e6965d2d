"""Discriminator guidance on variance-preserving networks: features, head, log-ratio, guidance, time maps."""

from collections.abc import Iterator
from typing import Any

import torch
from compared import FLOAT32, Output
from torch import Tensor

from guidelab.core.denoiser import per_sample
from guidelab.core.guidance import Potential
from guidelab.nets import vp_time
from guidelab.nets.adm_encoder import AdmEncoder
from guidelab.nets.frozen import required_class
from guidelab.nets.image_discriminator import AdmDiscriminator, variance_preserving

_COSINE_PX = (
    64  # the released 64 px classifier was trained with the cosine schedule; all others with the linear one
)


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    for output in computed(tensors, config):
        if output.name in tensors:
            yield output


def computed(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    t = tensors["in/t"]
    for name, ours in (
        ("marginal_mean", vp_time.marginal_mean(t)),
        ("marginal_std", vp_time.marginal_std(t)),
        ("t_cos", vp_time.cosine_time(t)),
        ("antiderivative", vp_time.log_sigma_squared(t)),
        ("normalizing_constant", vp_time.log_uniform_length(t.dtype)),
    ):
        yield Output(f"out/{name}", ours, FLOAT32)
    x, sigma = tensors["in/x"], tensors["in/sigma"]
    tau = vp_time.time_of_sigma(sigma)
    for name, ours in (
        ("vp_tau", tau),
        ("vp_mean", 1 / torch.sqrt(1 + sigma**2)),
        ("vp_std", vp_time.marginal_std(tau)),
    ):
        yield Output(f"out/{name}", ours, FLOAT32)
    net = discriminator(tensors, config)
    cond = tensors.get("in/class_labels")
    cond = cond.argmax(1) if cond is not None and cond.ndim == 2 else cond
    cond = required_class(cond, net.classes)  # an unconditional file may hold labels, which are not used
    logit = net(x, sigma, cond).detach()
    log_ratio_bit, term_bit = _rounding(net, x, sigma, cond)
    yield Output("out/log_ratio", logit, FLOAT32, log_ratio_bit)
    yield Output("out/disc_prob", torch.sigmoid(logit), FLOAT32)
    # the reference's term is added to the slope's numerator: minus what is added to D
    term = -Potential(net, 1.0).delta(x, sigma, cond, x)
    yield Output("out/guidance_term", term, FLOAT32, term_bit)


def discriminator(tensors: dict[str, Tensor], config: dict[str, Any]) -> AdmDiscriminator:
    """The discriminator of the file; sizes the configuration does not name are those of its weights."""
    states = {
        role: {
            key.removeprefix(f"param/{role}."): value
            for key, value in tensors.items()
            if key.startswith(f"param/{role}.")
        }
        for role in ("extractor", "discriminator")
    }
    side = config["resolution"]
    extractor = {
        **sizes(config["extractor"], side),
        "resolution_px": side,
        "image_channels": states["extractor"]["input_blocks.0.0.weight"].shape[1],
        "classes": outputs_of(states["extractor"]),
        "schedule": "cosine" if side == _COSINE_PX else "linear",
    }
    labels = states["discriminator"].get("label_emb.weight")
    head_side = side // 2 ** (len(config["extractor"]["channel_mult"]) - 1)
    net = AdmDiscriminator(
        side,
        extractor["image_channels"],
        extractor,
        classes=0 if labels is None else len(labels),
        **sizes(config["discriminator"], head_side),
    )
    net.extractor.encoder.load_state_dict(states["extractor"])
    net.head.load_state_dict(states["discriminator"])
    return net.eval().requires_grad_(False)


def sizes(config: dict[str, Any], side: int) -> dict[str, Any]:
    """Our arguments for a configuration in ADM's words, whose attention resolutions are factors of downsampling."""
    return {
        "channels": config["model_channels"],
        "channel_mult": config["channel_mult"],
        "blocks": config["num_res_blocks"],
        "attention_px": [side // factor for factor in config["attention_resolutions"]],
        "head_channels": config["num_head_channels"],
        "scale_shift": config.get("use_scale_shift_norm", True),
        "resblock_down": config.get("resblock_updown", True),
        "pool": config.get("pool", "attention"),
    }


def outputs_of(state: dict[str, Tensor]) -> int:
    """Length of a half U-Net's output, for either pooling."""
    last = "out.2.c_proj.weight" if "out.2.c_proj.weight" in state else "out.3.weight"
    return len(state[last])


def encoder(state: dict[str, Tensor], config: dict[str, Any], side: int) -> AdmEncoder:
    """A half U-Net by itself."""
    channels = state["input_blocks.0.0.weight"].shape[1]
    sized = sizes(config, side)
    net = AdmEncoder(resolution_px=side, image_channels=channels, outputs=outputs_of(state), **sized)
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def _rounding(net: AdmDiscriminator, x: Tensor, sigma: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    """How far the last bit of the time step moves log-ratio `[B]` and guidance `[B, 1, 1, 1]` of the reference.

    Steps go up to 999 and enter sines and cosines of that size, so one bit of a step is 6e-5 of an angle: as much
    as all other rounding together.
    """
    logits, terms = [], []
    for towards in (-torch.inf, torch.nan, torch.inf):  # down, as it is, up

        def shifted(x: Tensor, sigma: Tensor, cond: Tensor | None, to: float = towards) -> Tensor:
            scaled, steps = variance_preserving(x, sigma, net.extractor.schedule)
            steps = steps if to != to else torch.nextafter(steps, torch.full_like(steps, to))
            out: Tensor = net.head(net.extractor.encoder.features(scaled, steps), steps, cond)
            return out[:, 0]

        logits.append(shifted(x, sigma, cond).detach())
        terms.append(Potential(shifted, 1.0).delta(x, sigma, cond, x))
    log_ratio = (torch.stack(logits) - logits[1]).abs().amax(0)
    term = (torch.stack(terms) - terms[1]).abs().amax((0, 2, 3, 4))
    return log_ratio, per_sample(term, x)
