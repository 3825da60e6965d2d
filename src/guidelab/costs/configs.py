"""The nets of an experiment as constructor arguments, and the sizes of its images: read from the spec, no file needed."""

from typing import Any

from guidelab.errors import UserError
from guidelab.spec import Denoiser, Discriminator, Experiment, ImageDataset

_GRAY = ("fashion_mnist",)
_FOLDS = {  # images of a split where params.yaml gives no n; hashes divide them nearly so
    "fashion_mnist": {
        "train": 50_000,
        "holdout": 10_000,
        "test": 10_000,
    },
    "cifar10": {"train": 50_000, "holdout": 5_000, "test": 5_000},  # halves of the test images, by a hash
    "imagenet": {"train": 1_174_403, "holdout": 106_764, "test": 50_000},  # a twelfth held out, by a hash
}
_RELEASED = 10_000  # images of ADM's reference batches


def pixels(e: Experiment) -> tuple[int, int]:
    """Channels and side of an experiment's images; (2, 0) for points in the plane."""
    if not isinstance(e.dataset, ImageDataset):
        return 2, 0
    return (1 if e.dataset.name in _GRAY else 3), e.dataset.resolution_px


def event(e: Experiment, entry: Denoiser | Discriminator) -> tuple[int, int]:
    """Channels and side of what a net sees: the experiment's images, or their latents."""
    latent = None if entry.pixels else getattr(e.dataset, "latent", None)
    return (latent.channels, latent.side_px) if latent else pixels(e)


def fold_size(e: Experiment, fold: str) -> int:
    """How many examples a fold of real data has; 0 where only the user's files determine it."""
    entry = e.folds[fold]
    if e.scale == "smoke":  # synthetic: as many as the largest block has
        return max(last - first + 1 for first, last in e.evaluate.blocks.values())
    n = getattr(entry, "n", None)
    if n is not None:
        return int(n)
    if hasattr(entry, "split"):
        return _FOLDS.get(e.dataset.name, {}).get(entry.split, 0)
    return _RELEASED


def denoiser_config(e: Experiment, denoiser: str) -> dict[str, Any]:
    """Name and constructor arguments of a denoiser."""
    entry = e.denoisers[denoiser]
    if entry.file is not None:
        from guidelab.checkpoints.released import read_denoiser

        return read_denoiser(entry.file)[1]
    return _sized(e, entry, _classes(e) if entry.conditional else 0)


def model_config(e: Experiment, model: str) -> dict[str, Any]:
    """The same of a model: its denoiser's."""
    return denoiser_config(e, e.models[model].denoiser)


def disc_config(e: Experiment, disc: str) -> dict[str, Any]:
    """The same of a discriminator or classifier, with the classifier it stands on."""
    entry = e.discriminators[disc]
    conditional = entry.role in ("classifier", "features") or bool(getattr(entry.net, "conditional", None))
    config = _sized(e, entry, _classes(e) if conditional else 0)
    if entry.extractor:
        config["extractor"] = disc_config(e, entry.extractor)
    return config


def _classes(e: Experiment) -> int:
    return e.dataset.classes if isinstance(e.dataset, ImageDataset) else 0


def _sized(e: Experiment, entry: Denoiser | Discriminator, classes: int) -> dict[str, Any]:
    given = entry.net.model_dump()
    kept = {key: value for key, value in given.items() if value is not None and key != "conditional"}
    channels, side = event(e, entry)
    if not side:
        return kept
    return {**kept, "resolution_px": side, "image_channels": channels, "classes": classes}


def known_extractor(name: str) -> tuple[float, int, int, int]:
    """FLOP of an image, the side it is counted at (0: of any image), features, and numbers stored with them.

    Raises:
        UserError: an extractor without a known count.
    """
    if name not in _EXTRACTORS:
        raise UserError(f"costs: extractor {name!r} is not counted; known are {', '.join(_EXTRACTORS)}")
    return _EXTRACTORS[name]


_EXTRACTORS = {  # counted on the nets of guidelab.features; tests compare
    "inception": (2 * 5.713e9, 0, 2048, 1008 + 2023),  # logits, and the spatial features of sFID
    "dinov2": (2 * 81.01e9, 0, 1024, 0),
    "efficientnet_lite0": (2 * 0.3852e9, 224, 1280, 0),
    "tiny": (0.0, 0, 64, 0),  # of smoke experiments
}
