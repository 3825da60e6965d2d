"""The typed form of params.yaml, and its checks."""

from guidelab.spec.base import Strict, format_weight, split_point
from guidelab.spec.data import Extractor, ImageDataset
from guidelab.spec.denoisers import Denoiser, Model
from guidelab.spec.discriminators import Discriminator
from guidelab.spec.experiment import Experiment, Spec
from guidelab.spec.terms import Term
from guidelab.spec.variants import Variant

__all__ = [
    "Denoiser",
    "Discriminator",
    "Experiment",
    "Extractor",
    "ImageDataset",
    "Model",
    "Spec",
    "Strict",
    "Term",
    "Variant",
    "format_weight",
    "split_point",
]
