"""Train denoisers on images or latents on disk: EDM2, EDM, ADM and DiT, each with its loss.

Not implemented of the published trainings: the losses of EDM's `vp` and `ve` preconditionings, ADM's importance
sampling of steps, and exponential averages of a fixed length (power-function averages are used instead). EDM's
augmentation is resampled in another way, see `guidelab.train.augment`.

Source: Karras et al. 2022, arXiv:2206.00364; Karras et al. 2024, arXiv:2312.02696; Dhariwal & Nichol 2021,
arXiv:2105.05233; Peebles & Xie 2023, arXiv:2212.09748.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.core.latents import encoding
from guidelab.errors import UserError
from guidelab.nets.build import build as built
from guidelab.train.curves import Curves
from guidelab.train.denoisers import Started
from guidelab.train.distributed import TrainingGroup
from guidelab.train.loader import Draws, Loader, Source
from guidelab.train.objectives import Objective, draws_of, recipe_of
from guidelab.train.step import Trainer
from guidelab.train.streams import stream

_SIGMA_DATA = 0.5  # sigma_data of nets that do not set it; the published value
_LOOKED_AT = 256  # examples hashed to identify the data


@dataclass(frozen=True)
class Data:
    """The training data of a denoiser.

    Attributes:
        source: uint8 images `[n, C, H, W]`, or float32 means and deviations of latents `[n, 2C, h, w]`, by index.
        labels: int64 `[N]` below the net's classes; not used, and may be None, for a net without classes.
        shape: `(C, H, W)` of the net's input.
        encoding: of latents (see `guidelab.core.latents`); None for images.
    """

    source: Source
    labels: Tensor | None
    shape: tuple[int, int, int]
    encoding: str | None = None


class Images:
    """A net on images or latents: its examples, its loss, and the trainer of each seed.

    Several processes and microbatches give the same to rounding (with dropout: another draw of the same training).

    Args:
        config: `net` (name and keyword arguments of `build`), `conditional`, `classes`, `nimg`, `batch`, `microbatch`
            (images per forward pass and process, or None), `lr`, `decay_nimg`, `rampup_nimg` (or None), `p_mean`, `p_std`,
            `ema_stds`, `snapshot_nimg`; counts of images are integers. Optionally `loss` (`edm`, `edm2` or `vp`; the net's
            own by default; `vp` does not use `p_mean` and `p_std`), `label_dropout`, `flip` (mirror half of the images, or
            of the latents: nearly, not exactly, the latents of mirrored images), `precision` (`float32`, `bfloat16` or
            `float16`; the latter two act on CUDA only). A net with augmentation labels is shown images augmented as
            EDM does, and is given the labels.
        data: what to train on.
        build: makes the net from its arguments, `resolution_px`, `image_channels`, `classes` and a `generator`.
        group: the processes that train together (see `guidelab.train.distributed`); alone on the CPU when None.
        compile: compile the net; it takes minutes, so it pays for long trainings only.
        curves: folder of curves to watch while training (see `guidelab.train.curves`), or None.
        workers: threads that read ahead, in each process; by default the cores, 8 at most.
    Raises:
        UserError: labels or options that do not fit the net.
    """

    interleaved = False

    def __init__(
        self,
        config: Mapping[str, Any],
        data: Data,
        build: Callable[..., nn.Module],
        *,
        group: TrainingGroup | None = None,
        compile: bool = False,
        curves: str | Path | None = None,
        workers: int | None = None,
    ) -> None:
        _check(config, data)
        self.config, self.group = config, group or TrainingGroup()
        self.key = {"data": fingerprint(data), "encoding": data.encoding}
        self.about: dict[str, Any] = {}
        self._data, self._build, self._recipe = data, build, recipe_of(config)
        self._compile, self._curves, self._workers = compile, curves, workers

    def start(self, seed: int, resumed: bool) -> Started:
        """The trainer of a seed, before its first iteration."""
        config, data = self.config, self._data
        net, described = _build(config, data.shape, seed, self._build)
        live = None
        if self._curves is not None and self.group.leader:
            live = Curves(Path(self._curves) / f"seed{seed}", resume=resumed)
        loader = _loader(config, data, seed, draws_of(config, self._recipe, net))
        objective = Objective(
            net.to(self.group.device), self._recipe, described.get("sigma_data", _SIGMA_DATA)
        )
        trainer = Trainer(net, loader, config, objective, self.group, self._compile, live, self._workers)
        return Started(trainer, net, described, f"{described['resolution_px']} px")


def _loader(config: Mapping[str, Any], data: Data, seed: int, draws: Draws) -> Loader:
    standardise = encoding(data.encoding).standardise if data.encoding else None
    labels = data.labels if config["conditional"] else None
    return Loader(data.source, data.shape, labels, seed, config["batch"], draws, standardise)


def fingerprint(data: Data) -> str:
    """Identify the data in a saved state: their number, shape, labels and a hash of some examples."""
    found = hashlib.sha256(json.dumps([len(data.source), data.shape, data.encoding]).encode())
    if data.labels is not None:
        found.update(data.labels.contiguous().numpy().data)
    some = torch.linspace(0, len(data.source) - 1, min(_LOOKED_AT, len(data.source))).round().long()
    found.update(data.source[some].contiguous().numpy().data)
    return found.hexdigest()


def _check(config: Mapping[str, Any], data: Data) -> None:
    if config["conditional"] and (data.labels is None or int(data.labels.max()) >= config["classes"]):
        found = "none" if data.labels is None else f"labels up to {int(data.labels.max())}"
        raise UserError(
            f"train: given {found}, wanted labels below {config['classes']}. Give a dataset with such labels, or set "
            "conditional: false for this denoiser."
        )
    if data.encoding and config["net"].get("augment_dim"):
        raise UserError(
            "train: augment_dim augments images, but this net is trained on latents, and a turned latent is not the latent of "
            "the turned image. Leave augment_dim out."
        )


def _build(
    config: Mapping[str, Any], shape: Sequence[int], seed: int, build: Callable[..., nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """A net with the seed's first weights, in training mode, and all arguments that make it again, defaults too."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(build).parameters.items()
        if name != "generator" and parameter.default is not inspect.Parameter.empty
    }
    described = {
        **defaults,
        **config["net"],
        "resolution_px": shape[-1],
        "image_channels": shape[0],
        "classes": config["classes"] if config["conditional"] else 0,
    }
    arguments = {key: value for key, value in described.items() if key != "name"}
    generator = stream("image weights", seed)
    return built(build, config["net"]["name"], arguments, generator).train(), described
