"""The typed form of params.yaml."""

from guidelab.spec.base import Strict, format_weight, split_point
from guidelab.spec.data import Extractor, ImageDataset
from guidelab.spec.experiment import (
    Denoiser,
    Discriminator,
    Experiment,
    Model,
    Spec,
    Variant,
)

__all__ = [
    "Denoiser",
    "Discriminator",
    "Experiment",
    "Extractor",
    "ImageDataset",
    "Model",
    "Spec",
    "Strict",
    "Variant",
    "format_weight",
    "split_point",
]
