"""Shared by discriminators on a frozen classifier: a check that both fit, and the class label they require."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def extractor_config(
    extractor: Mapping[str, Any], kind: str, resolution_px: int, image_channels: int
) -> dict[str, Any]:
    """Constructor arguments of a frozen classifier, checked against the images and without its name.

    Raises:
        ValueError: another kind of network, or other images.
    """
    config = dict(extractor)
    given = config.pop("name", kind)
    if given != kind:
        raise ValueError(f"discriminator: its extractor is {given}, wanted {kind}")
    shape = (config["resolution_px"], config["image_channels"])
    if shape != (resolution_px, image_channels):
        raise ValueError(
            f"discriminator: images are {resolution_px} px with {image_channels} channels, its extractor was "
            f"trained on {shape[0]} px with {shape[1]}"
        )
    return config


def required_class(cond: Tensor | None, classes: int) -> Tensor | None:
    """The labels a network uses: `cond`, or None where it was built without classes.

    Raises:
        ValueError: it was built with classes and is given none.
    """
    if not classes:
        return None
    if cond is None:
        raise ValueError(f"a network of {classes} classes was given no class")
    return cond
