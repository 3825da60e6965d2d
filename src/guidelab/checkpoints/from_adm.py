"""Convert pretrained ADM checkpoints: U-Net, noisy classifier, and the heads of discriminator guidance.

The files are plain lists of parameters. Architectures are read from names and shapes; what these do not determine (sizes
of images and attention heads, order of attention weights, noise schedule) is that of the released networks unless
hints say otherwise. Source: Dhariwal & Nichol 2021, arXiv:2105.05233 (flags given with the released files).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guidelab.checkpoints.adm_shape import Shape, shape_of
from guidelab.checkpoints.architecture import fits, known, need
from guidelab.errors import UserError
from guidelab.nets.adm import Adm
from guidelab.nets.image_discriminator import AdmClassifier, AdmDiscriminator

Converted = tuple[dict[str, Any], dict[str, Tensor]]

_HINTS = ("resolution_px", "head_channels", "heads", "schedule", "split_first", "blocks", "steps")
_BOTTOM_PX = 8  # side of the smallest maps of every released network
_HEAD_CHANNELS = 64
# released networks whose flags are not the others': by width and widths of the levels
_UNETS: Mapping[tuple[int, tuple[float, ...]], Mapping[str, Any]] = {
    (192, (1, 2, 3, 4)): {"schedule": "cosine", "split_first": True},  # 64 px
    (256, (1, 1, 2, 3, 4)): {"heads": 4},  # 128 px
}
_COSINE_CLASSIFIER = (1, 2, 3, 4)  # levels of the 64 px classifier, trained with the cosine schedule


def convert_unet(state: Mapping[str, Tensor], hints: Mapping[str, Any] | None = None) -> Converted:
    """Configuration (`name: adm`) and tensors of a denoiser.

    Args:
        state: parameters by released name.
        hints: some of `resolution_px` (else 8 px at the bottom), `head_channels` (else 64) or `heads`, `schedule`
            (else `linear`), `split_first` (new order of attention weights), `blocks`, `steps` (else 1000).
    Returns:
        Constructor arguments of `Adm`, and its state.
    Raises:
        UserError: the parameters are not those of such a network.
    """
    what = "ADM's U-Net"
    given = known(hints, _HINTS, what)
    shape = shape_of(state, what, given.get("blocks"))
    given = {**_UNETS.get((shape.channels, shape.channel_mult), {}), **given}
    resolution_px = given.get("resolution_px", _BOTTOM_PX << (shape.levels - 1))
    outputs = len(need(state, "out.2.weight", what))
    if outputs not in (shape.image_channels, 2 * shape.image_channels):
        raise UserError(
            f"checkpoint of {what}: has {shape.image_channels} input and {outputs} output channels; wanted as many outputs, or "
            "twice as many. Is it an upsampler?"
        )
    config = {
        "name": "adm",
        "resolution_px": resolution_px,
        "image_channels": shape.image_channels,
        "classes": shape.labels,
        **shape.arguments(resolution_px),
        **_heads(shape, given, what),
        "resblock_updown": shape.resblock_updown,
        "learn_sigma": outputs == 2 * shape.image_channels,
        "schedule": given.get("schedule", "linear"),
        "split_first": given.get("split_first", False),
        **({"steps": given["steps"]} if "steps" in given else {}),
    }
    tensors = {f"unet.{name}": value for name, value in state.items()}
    fits(Adm, config, tensors)
    return config, tensors


def convert_classifier(state: Mapping[str, Tensor], hints: Mapping[str, Any] | None = None) -> Converted:
    """Configuration (`name: adm_classifier`) and tensors of a noisy classifier.

    Args:
        state: parameters by released name.
        hints: as for `convert_unet`; `schedule` is `discrete` (or `discrete_cosine` for the 64 px network) unless
            given: the classifier gets the time steps of the chain it guides.
    Returns:
        Constructor arguments of `AdmClassifier`, and its state.
    Raises:
        UserError: see `convert_unet`; also a resolution its attention pooling was not made for.
    """
    what = "ADM's classifier"
    given = known(hints, _HINTS, what)
    config = _half(state, given, what)
    outputs, labels = config.pop("outputs"), config.pop("labels")
    if labels:
        raise UserError(
            f"checkpoint of {what}: is conditional ({labels} classes). Is it a discriminator's head?"
        )
    cosine = tuple(config["channel_mult"]) == _COSINE_CLASSIFIER and config["resolution_px"] == 64
    schedule = given.get("schedule", "discrete_cosine" if cosine else "discrete")
    config = {"name": "adm_classifier", **config, "classes": outputs, "schedule": schedule}
    tensors = {f"encoder.{name}": value for name, value in state.items()}
    fits(AdmClassifier, config, tensors)
    return config, tensors


def convert_discriminator(
    extractor_state: Mapping[str, Tensor],
    head_state: Mapping[str, Tensor],
    hints: Mapping[str, Any] | None = None,
) -> Converted:
    """Configuration (`name: adm_discriminator`) and tensors of a discriminator: a head and its frozen extractor.

    Args:
        extractor_state: the noisy classifier's parameters by released name.
        head_state: the head's.
        hints: as for `convert_unet`, of the extractor (attention heads: of both). `schedule` unless given:
            `discrete` for latents (DiT's chain), `cosine` for 64 px, else `linear` (EDM's noise levels).
    Returns:
        Constructor arguments of `AdmDiscriminator`, and its state: the extractor's too.
    Raises:
        UserError: see `convert_unet`; also a head that was not trained on this extractor's features.
    Source: Kim et al. 2023, arXiv:2211.17091 (released code).
    """
    given = known(hints, _HINTS, "a discriminator's extractor")
    extractor, extractor_tensors = convert_classifier(extractor_state, given)
    cosine = extractor["schedule"] == "discrete_cosine"
    default = "discrete" if extractor["image_channels"] == 4 else "cosine" if cosine else "linear"
    extractor["schedule"] = given.get("schedule", default)
    side = extractor["resolution_px"] >> (len(extractor["channel_mult"]) - 1)
    what = "a discriminator's head"
    width = int(extractor["channel_mult"][-1] * extractor["channels"])
    if need(head_state, "input_blocks.0.0.weight", what).shape[1] != width:
        raise UserError(
            f"checkpoint of {what}: wanted one that takes the extractor's {width} channels. Was it trained on the "
            "features of another classifier?"
        )
    heads = {key: value for key, value in given.items() if key in ("head_channels", "heads")}
    head = _half(head_state, {**heads, "resolution_px": side}, what)
    del head["image_channels"]
    if head.pop("outputs") != 1:
        raise UserError(f"checkpoint of {what}: gives more than one number. Is it the file of a classifier?")
    config = {
        "name": "adm_discriminator",
        "resolution_px": extractor["resolution_px"],
        "image_channels": extractor["image_channels"],
        "extractor": extractor,
        "classes": head.pop("labels"),
        **{key: value for key, value in head.items() if key != "resolution_px"},
    }
    tensors = {f"extractor.{name}": value for name, value in extractor_tensors.items()}
    tensors |= {f"head.{name}": value for name, value in head_state.items()}
    fits(AdmDiscriminator, config, tensors)
    return config, tensors


def _half(state: Mapping[str, Tensor], given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Arguments of the `AdmEncoder` with these parameters."""
    places = state.get("out.2.positional_embedding")
    pool, last = ("adaptive", "out.3.weight") if places is None else ("attention", "out.2.c_proj.weight")
    outputs = len(need(state, last, what))
    bottom_px = _BOTTOM_PX if places is None else round((places.shape[1] - 1) ** 0.5)
    levels = None
    if "resolution_px" in given and places is not None:
        factor = given["resolution_px"] // bottom_px
        if factor * bottom_px != given["resolution_px"] or factor.bit_count() != 1:
            raise UserError(
                f"checkpoint of {what}: pools maps of {bottom_px} px, which {given['resolution_px']} px cannot become. "
                "Was it trained on images of another size?"
            )
        levels = factor.bit_length()
    shape = shape_of(state, what, given.get("blocks"), levels)
    resolution_px = given.get("resolution_px", bottom_px << (shape.levels - 1))
    return {
        "resolution_px": resolution_px,
        "image_channels": shape.image_channels,
        "labels": shape.labels,
        "outputs": outputs,
        **shape.arguments(resolution_px),
        **_heads(shape, given, what),
        "resblock_down": shape.resblock_updown,
        "split_first": given.get("split_first", False),
        "pool": pool,
    }


def _heads(shape: Shape, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Attention heads, which cannot be inferred from parameters."""
    if "heads" in given:
        return {"head_channels": None, "heads": given["heads"]}
    each = given.get("head_channels", _HEAD_CHANNELS)
    levels = {*shape.attention_levels, shape.levels - 1}
    odd = [w for w in (int(shape.channel_mult[i] * shape.channels) for i in levels) if w > each and w % each]
    if odd:
        raise UserError(
            f"checkpoint of {what}: {odd[0]} channels are not heads of {each}; give `heads` or `head_channels`"
        )
    return {"head_channels": each}
