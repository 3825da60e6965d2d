"""Discriminator guidance takes its sizes from the file: other resolutions, depths and conditions go through."""

import family_dg
import pytest
import torch

from guidelab.nets import vp_time
from guidelab.nets.adm_encoder import AdmEncoder


@pytest.mark.parametrize(
    ("side", "conditional", "mult", "plain"),
    [(32, False, [1, 2, 2], False), (64, True, [1, 1, 2], True), (16, True, [2, 2], False)],
)
def test_a_file_of_another_configuration(side: int, conditional: bool, mult: list[int], plain: bool) -> None:
    generator = torch.Generator().manual_seed(side)
    base = {
        "model_channels": 32, "num_res_blocks": 1, "num_head_channels": 16, "pool": "attention",
        "use_scale_shift_norm": not plain, "resblock_updown": not plain,
    }  # fmt: skip
    config = {
        "resolution": side,
        "extractor": {**base, "attention_resolutions": [2, 4], "channel_mult": mult},
        "discriminator": {**base, "attention_resolutions": [1], "channel_mult": [1]},
    }
    extractor = AdmEncoder(
        resolution_px=side, image_channels=3, outputs=7, generator=generator,
        **family_dg.sizes(config["extractor"], side),
    )  # fmt: skip
    width, inner, _ = extractor.feature_shape
    head = AdmEncoder(
        resolution_px=inner, image_channels=width, outputs=1, labels=10 if conditional else 0,
        generator=generator, **family_dg.sizes(config["discriminator"], inner),
    )  # fmt: skip
    tensors = {
        "in/t": torch.linspace(1e-3, 1, 5),
        "in/x": torch.randn(2, 3, side, side, generator=generator),
        "in/sigma": torch.tensor([0.05, 12.0]),
        "in/class_labels": torch.eye(10)[[3, 0]],  # present in unconditional files too
    }
    for role, net in (("extractor", extractor), ("discriminator", head)):
        tensors |= {f"param/{role}.{name}": value for name, value in net.state_dict().items()}
    found = {output.name: output.value for output in family_dg.computed(tensors, config)}
    tau = vp_time.time_of_sigma(tensors["in/sigma"])
    steps = 999 * (vp_time.cosine_time(tau) if side == 64 else tau)
    x = tensors["in/x"].clone().requires_grad_(True)
    features = extractor.features(x / (1 + tensors["in/sigma"] ** 2).sqrt()[:, None, None, None], steps)
    logit = head(features, steps, torch.tensor([3, 0]) if conditional else None)[:, 0]
    torch.testing.assert_close(found["out/log_ratio"], logit.detach())
    (slope,) = torch.autograd.grad(logit.sum(), x)
    wanted = -(tensors["in/sigma"] ** 2)[:, None, None, None] * slope
    torch.testing.assert_close(
        found["out/guidance_term"], wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())
    )
    assert (
        set(family_dg.outputs(tensors, config)) == set()
    )  # such a file pins nothing, so nothing is compared
