"""Training of denoisers on images or latents on disk: EDM2, EDM, ADM and DiT, each by its own loss.

Not implemented of the published trainings: the losses of EDM's `vp` and `ve` preconditionings, ADM's importance
sampling of steps, and exponential averages of a fixed length (power-function averages take their place). EDM's
augmentation is resampled in another way, see `guidelab.train.augment`.

Source: Karras et al. 2022, arXiv:2206.00364; Karras et al. 2024, arXiv:2312.02696; Dhariwal & Nichol 2021,
arXiv:2105.05233; Peebles & Xie 2023, arXiv:2212.09748.
"""

import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.core.latents import encoding
from guidelab.errors import UserError
from guidelab.train.curves import Curves
from guidelab.train.distributed import ProcessGroup, train_together
from guidelab.train.loader import Draws, Loader, Source
from guidelab.train.loop import Course, State
from guidelab.train.objectives import Objective, draws_of, recipe_of
from guidelab.train.snapshots import Curve, Snapshots, curve_of, named
from guidelab.train.step import LOG_EVERY, Trainer
from guidelab.train.streams import stream

_SIGMA_DATA = 0.5  # of nets that do not have their own; the published value
_LOOKED_AT = 256  # examples by which data are known again


@dataclass(frozen=True)
class Data:
    """What a denoiser is trained on.

    Attributes:
        source: uint8 images `[n, C, H, W]`, or float32 means and deviations of latents `[n, 2C, h, w]`, by index.
        labels: int64 `[N]` below the net's classes; not used, and may be None, for a net without classes.
        shape: `(C, H, W)` of what the net sees.
        encoding: of latents (see `guidelab.core.latents`); None for images.
    """

    source: Source
    labels: Tensor | None
    shape: tuple[int, int, int]
    encoding: str | None = None


def train_denoiser(
    config: Mapping[str, Any],
    seeds: Sequence[int],
    state_dir: str | Path,
    data: Data,
    *,
    progress: bool = True,
    compile: bool = False,
    curves: str | Path | None = None,
    group: ProcessGroup | None = None,
    build: Callable[..., nn.Module],
    workers: int | None = None,
) -> tuple[Snapshots, dict[str, Any], Curve]:
    """Train one denoiser for every seed, one after the other.

    First weights, order of the examples, noise levels and noise follow from the seed alone, so a result depends neither
    on the other seeds, nor on the threads that read, nor on where it was interrupted, bit for bit on a CPU. Several
    processes and microbatches give the same to rounding (with dropout: another draw of the same training). Snapshots are
    read from the states' folders as they are used: keep these until the result is written.

    Args:
        config: `net` (name and keyword arguments of `build`), `conditional`, `classes`, `nimg`, `batch`, `microbatch`
            (images per forward pass and process, or None), `lr`, `decay_nimg`, `rampup_nimg` (or None), `p_mean`, `p_std`,
            `ema_stds`, `snapshot_nimg`; counts of images are integers. Optionally `loss` (`edm`, `edm2` or `vp`; the net's
            own by default; `vp` does not use `p_mean` and `p_std`), `label_dropout`, `flip` (mirror half of the images, or
            of the latents: nearly, not exactly, the latents of mirrored images), `precision` (`float32`, `bfloat16` or
            `float16`; the latter two act on CUDA only). A net with augmentation labels is shown images augmented as
            EDM does, and is given the labels.
        seeds: training seeds.
        state_dir: folder of the resumable states, one subfolder for each seed.
        data: what to train on.
        progress: show a bar on standard error.
        compile: compile the net; it takes minutes, so it pays for long trainings only.
        curves: folder of curves to watch while training (see `guidelab.train.curves`), or None.
        group: the processes that train together (see `guidelab.train.distributed`); alone on the CPU when None.
        build: makes the net from its arguments, `resolution_px`, `image_channels`, `classes` and a `generator`.
        workers: threads that read ahead, in each process; by default the cores, 8 at most.
    Returns:
        Averaged weights and buffers `seed{S}/ema{std:.3f}/nimg{N}/{parameter}`, their description, and the loss curve
        (loss per example, summed over its elements). Empty at all processes but the first.
    Raises:
        Stopped: see `guidelab.train.loop.run`.
        UserError: see there; or lengths that are no whole number of batches, labels or options that do not fit the net.
    """
    group = group or ProcessGroup()
    _check(config, data)
    recipe = recipe_of(config)
    key = {**config, "data": fingerprint(data), "encoding": data.encoding}
    tensors: Snapshots = {}
    curve: Curve = []
    broken: dict[str, int] = {}
    meta: dict[str, Any] = {}
    for seed in seeds:
        folder = Path(state_dir) / f"seed{seed}"
        net, described = _build(config, data.shape, seed, build)
        live = None
        if curves is not None and group.leader:
            live = Curves(Path(curves) / f"seed{seed}", resume=(folder / "state.safetensors").exists())
        loader = _loader(config, data, seed, draws_of(config, recipe, net))
        objective = Objective(net.to(group.device), recipe, described.get("sigma_data", _SIGMA_DATA))
        trainer = Trainer(net, loader, config, objective, group, compile, live, workers)
        course = _course(trainer, {**key, "net": described, "seed": seed})
        try:
            kept, losses = train_together(course, folder, group, trainer, progress)
        finally:
            trainer.close()
        if group.leader:
            tensors |= named(net, kept, config["batch"], seed)
            curve += curve_of(losses, seed, config)
            broken[str(seed)] = int(kept[max(kept)]["nonfinite"])
            meta = {"net": described, "nimg": [iteration * config["batch"] for iteration in kept]}
    if any(broken.values()):
        warnings.warn(f"gradients that were not finite were zeroed, by seed: {broken}", stacklevel=2)
    given = {key: value for key, value in config.items() if key not in ("net", "classes")}
    about = {"seeds": list(seeds), "ema_stds": list(config["ema_stds"]), "nonfinite_gradients": broken}
    return tensors, {**meta, **about, "train": given}, curve


def _loader(config: Mapping[str, Any], data: Data, seed: int, draws: Draws) -> Loader:
    standardise = encoding(data.encoding).standardise if data.encoding else None
    labels = data.labels if config["conditional"] else None
    return Loader(data.source, data.shape, labels, seed, config["batch"], draws, standardise)


def _course(trainer: Trainer, key: dict[str, Any]) -> Course:
    batch = key["batch"]

    def snapshot(state: State) -> State:
        return {name: value for name, value in state.items() if name.startswith("ema") or name == "nonfinite"}

    return Course(
        key=key,
        initial=lambda: trainer.live,
        step=trainer.step,
        snapshot=snapshot,
        iterations=key["nimg"] // batch,
        snapshot_every=key["snapshot_nimg"] // batch,
        log_every=LOG_EVERY,
        title=f"{key['net'].get('name', 'net')} {key['net']['resolution_px']} px, seed {key['seed']}",
    )


def fingerprint(data: Data) -> str:
    """By what data are known again: their number, shape, labels and some of them, spread over all."""
    found = hashlib.sha256(json.dumps([len(data.source), data.shape, data.encoding]).encode())
    if data.labels is not None:
        found.update(data.labels.contiguous().numpy().data)
    some = torch.linspace(0, len(data.source) - 1, min(_LOOKED_AT, len(data.source))).round().long()
    found.update(data.source[some].contiguous().numpy().data)
    return found.hexdigest()


def _check(config: Mapping[str, Any], data: Data) -> None:
    nimg, every, batch = config["nimg"], config["snapshot_nimg"], config["batch"]
    if every % batch or nimg % every or nimg < every:
        raise UserError(
            f"train: snapshot_nimg {every} must be a whole number of batches of {batch}, and nimg {nimg} a whole number of "
            "snapshots; change them in params.yaml"
        )
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
    try:
        inspect.signature(build).bind(**arguments)
        net = build(**arguments, generator=stream("image weights", seed))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"net {config['net']['name']}: {error}; given {arguments}. Mend it in params.yaml."
        ) from error
    return net.train(), described
