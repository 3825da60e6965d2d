"""Training of image denoisers by EDM2's recipe, one seed after another, each resumable on its own.

Source: Karras et al. 2024, arXiv:2312.02696, appendix B.
"""

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.nets.edm2 import Edm2
from guidelab.train.distributed import World, run_together
from guidelab.train.image_curves import Curves
from guidelab.train.image_loader import ImageLoader
from guidelab.train.image_step import LOG_EVERY, ImageTrainer
from guidelab.train.loop import Course, State
from guidelab.train.streams import stream

Snapshots = dict[str, Tensor]
Curve = list[tuple[int, int, int, float]]  # train_seed, iteration, nimg, loss


def train_images(
    config: Mapping[str, Any],
    seeds: Sequence[int],
    state_dir: str | Path,
    images: Tensor,
    labels: Tensor | None,
    *,
    progress: bool = True,
    compile: bool = False,
    curves: str | Path | None = None,
    world: World | None = None,
    build: Callable[..., nn.Module] = Edm2,
) -> tuple[Snapshots, dict[str, Any], Curve]:
    """Train one denoiser for every seed, one after the other.

    First weights, order of the images, noise levels and noise follow from the seed alone, so a result depends neither on
    the other seeds nor on where it was interrupted, bit for bit on a CPU. Several processes and microbatches give
    the same to rounding (with dropout: another draw of the same training).

    Args:
        config: `net` (name and keyword arguments of `build`), `conditional`, `classes`, `nimg`, `batch`, `microbatch`
            (images per forward pass and process, or None), `lr`, `decay_nimg`, `rampup_nimg` (or None), `p_mean`, `p_std`,
            `ema_stds`, `snapshot_nimg`; counts of images are integers.
        seeds: training seeds.
        state_dir: folder of the resumable states, one subfolder for each seed.
        images: uint8 `[N, C, H, W]`, square.
        labels: int64 `[N]` below `classes`; not used, and may be None, if not conditional.
        progress: show a bar on standard error.
        compile: compile the net; it takes minutes, so it pays for long trainings only.
        curves: folder of curves to watch while training (see `guidelab.train.image_curves`), or None.
        world: the processes that train together (see `guidelab.train.distributed`); alone on the CPU when None.
        build: makes the net from its arguments, `resolution_px`, `image_channels`, `classes`, `sigma_data` and a
            `generator`.
    Returns:
        Averaged weights and buffers `seed{S}/ema{std:.3f}/nimg{N}/{parameter}`, their description, and the loss curve
        (loss per image, summed over its pixels and channels). Empty at all processes but the first.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`.
        ValueError: lengths that are no whole number of batches, or images and labels that do not fit `config`.
    """
    world = world or World()
    _check(config, images, labels)
    labels = labels if config["conditional"] else None
    digest = _digest(images, labels)
    tensors: Snapshots = {}
    curve: Curve = []
    broken: dict[str, int] = {}
    meta: dict[str, Any] = {}
    for seed in seeds:
        folder = Path(state_dir) / f"seed{seed}"
        net, described = _build(config, images, seed, build)
        live = None
        if curves is not None and world.leader:
            live = Curves(Path(curves) / f"seed{seed}", resume=(folder / "state.safetensors").exists())
        loader = ImageLoader(images, labels, seed, config["batch"], config["p_mean"], config["p_std"])
        trainer = ImageTrainer(
            net.to(world.device), loader, config, described["sigma_data"], world, compile, live
        )
        course = _course(
            trainer, {**config, "net": described, "seed": seed, "images_sha256": digest}, progress
        )
        kept, losses = run_together(course, folder, world, trainer.live, trainer.load, progress)
        if world.leader:
            tensors |= _named(net, kept, config["batch"], seed)
            curve += _curve(losses, seed, config)
            broken[str(seed)] = int(kept[max(kept)]["nonfinite"])
            meta = {"net": described, "nimg": [iteration * config["batch"] for iteration in kept]}
    if any(broken.values()):
        warnings.warn(f"gradients that were not finite were zeroed, by seed: {broken}", stacklevel=2)
    given = {key: value for key, value in config.items() if key not in ("net", "classes")}
    about = {"seeds": list(seeds), "ema_stds": list(config["ema_stds"]), "nonfinite_gradients": broken}
    return tensors, {**meta, **about, "train": given}, curve


def _check(config: Mapping[str, Any], images: Tensor, labels: Tensor | None) -> None:
    nimg, every, batch = config["nimg"], config["snapshot_nimg"], config["batch"]
    if every % batch or nimg % every or nimg < every:
        raise ValueError(
            f"train_images: snapshot_nimg {every} must be a whole number of batches of {batch}, and nimg {nimg} "
            "a whole number of snapshots"
        )
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"train_images: given images {tuple(images.shape)}, wanted [N, C, H, W] with H = W")
    if config["conditional"] and (labels is None or int(labels.max()) >= config["classes"]):
        found = "none" if labels is None else f"labels up to {int(labels.max())}"
        raise ValueError(f"train_images: given {found}, wanted labels below {config['classes']}")


def _digest(images: Tensor, labels: Tensor | None) -> str:
    """What the images and labels are: a state saved while training on others is refused."""
    found = hashlib.sha256(str(tuple(images.shape)).encode())
    for part in (images, labels):
        if part is not None:
            found.update(part.contiguous().numpy().data)
    return found.hexdigest()


def _build(
    config: Mapping[str, Any], images: Tensor, seed: int, build: Callable[..., nn.Module]
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
        "resolution_px": images.shape[-1],
        "image_channels": images.shape[1],
        "classes": config["classes"] if config["conditional"] else 0,
    }
    arguments = {key: value for key, value in described.items() if key != "name"}
    return build(**arguments, generator=stream("image weights", seed)).train(), described


def _course(trainer: ImageTrainer, key: dict[str, Any], progress: bool) -> Course:
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


def _named(net: nn.Module, kept: Mapping[int, State], batch: int, seed: int) -> Snapshots:
    """Snapshots as parameters by name, each with the net's buffers, so that they load as they are."""
    layout = [(name, p.shape) for name, p in net.named_parameters()]
    parameters = {name for name, _ in layout}
    buffers = {name: value.cpu() for name, value in net.state_dict().items() if name not in parameters}
    found: Snapshots = {}
    for iteration, state in kept.items():
        for average in (name for name in state if name.startswith("ema")):
            prefix = f"seed{seed}/{average}/nimg{iteration * batch}"
            parts = torch.split(state[average], [shape.numel() for _, shape in layout])
            for (name, shape), part in zip(layout, parts, strict=True):
                found[f"{prefix}/{name}"] = part.view(shape)
            found |= {f"{prefix}/{name}": value for name, value in buffers.items()}
    return found


def _curve(losses: Tensor, seed: int, config: Mapping[str, Any]) -> Curve:
    """One row for every interval of the log; `iteration` is the last one of the interval."""
    batch = config["batch"]
    ends = [min(number * LOG_EVERY, config["nimg"] // batch) for number in range(1, len(losses) + 1)]
    return [(seed, at, at * batch, float(row[0])) for at, row in zip(ends, losses, strict=True)]
