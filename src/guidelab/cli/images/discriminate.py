"""`guidelab discriminate` for images: a discriminator for each training seed of the sampler, or one classifier."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from guidelab import registry
from guidelab.cli.runtime import drop_state, state_folder
from guidelab.data.image_zip import read_zip
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.sampling import progress
from guidelab.shards import load_manifest, read_block
from guidelab.train.classifier import train_classifier
from guidelab.train.image_discriminator import train_image_discriminator
from guidelab.train.noisy import Images
from guidelab.train.streams import stream

_CLASSIFIERS = ("classifier", "features")


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train what the job's role asks for; save the nets, each one's held-out report and the course of its training."""
    real = _real(job["inputs"]["real"])
    if job["role"] in _CLASSIFIERS:
        _classifier(job, real, outputs[0])
    else:
        _discriminators(job, real, outputs[0])


def _classifier(job: dict[str, Any], real: Images, output: Path) -> None:
    (path,) = job["inputs"]["real"]
    config = _net_config(job, real, job["classes"])
    _check_labels(real, job["classes"], path, job["disc"])
    folder = state_folder(job)
    net = _build(config, job["train"]["seed"])
    state, report, history = train_classifier(job["train"], net, real, folder)
    (seed,) = job["train_seeds"]
    tensors = {f"seed{seed}/{name}": value for name, value in state.items()}
    iterations = [row[0] for row in history]
    _save(job, config, tensors, {str(seed): report}, {str(seed): history}, iterations, output)
    drop_state(folder)


def _discriminators(job: dict[str, Any], real: Images, output: Path) -> None:
    (real_path,), (generated_path,) = job["inputs"]["real"], job["inputs"]["generated"]
    classes = job["classes"] if job["net"].get("conditional") else 0
    config = _net_config(job, real, classes)
    extractor: dict[str, Tensor] = {}
    if job["inputs"].get("extractor"):
        config["extractor"], extractor = _extractor(job["inputs"]["extractor"][0])
    if classes:
        _check_labels(real, classes, real_path, job["disc"])
    blocks = load_manifest(generated_path)["blocks"]
    block = "generated" if "generated" in blocks else job["disc"]
    tensors: dict[str, Tensor] = {}
    reports, history, iterations = {}, {}, set()
    for seed in progress(job["train_seeds"], job["disc"]):
        generated = Images(*read_block(generated_path, seed, block))
        _check_alike(real, generated, real_path, generated_path)
        if classes:
            _check_labels(generated, classes, generated_path, job["disc"])
        given = [images if classes else Images(images.x) for images in (real, generated)]
        own = 1000 * job["train"]["seed"] + seed
        net = _build(config, own)
        if extractor:
            net.extractor.load_state_dict(extractor)  # type: ignore[operator, union-attr]
        state, report, outcome = train_image_discriminator(
            job["train"], net, given[0], given[1], own, state_folder(job) / f"seed{seed}"
        )
        tensors |= {f"seed{seed}/{name}": value for name, value in state.items()}
        for iteration, snapshot in outcome.snapshots.items():
            kept = {name.removeprefix("param/"): value for name, value in snapshot.items()}
            # complete, frozen parts too: each can be loaded by itself
            tensors |= {f"it{iteration}/seed{seed}/{n}": v for n, v in {**state, **kept}.items()}
        reports[str(seed)], history[str(seed)] = report, outcome.history
        iterations |= set(outcome.snapshots)
    _save(job, config, tensors, reports, history, sorted(iterations), output)
    drop_state(state_folder(job))


def _real(paths: list[str] | tuple[str, ...]) -> Images:
    (path,) = paths
    found = read_zip(path)
    return Images(found.images, found.labels)


def _net_config(job: Mapping[str, Any], images: Images, classes: int) -> dict[str, Any]:
    """Complete constructor arguments, with the network's name."""
    size = {"resolution_px": images.x.shape[-1], "image_channels": images.x.shape[1], "classes": classes}
    return {**{k: v for k, v in job["net"].items() if k != "conditional"}, **size}


def _build(config: Mapping[str, Any], seed: int) -> nn.Module:
    arguments = {k: v for k, v in config.items() if k != "name"}
    make = registry.load("net", config["name"])
    try:
        inspect.signature(make).bind(**arguments)
        net: nn.Module = make(**arguments, generator=stream("image discriminator weights", seed))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"net {config['name']}: {error}; given {arguments}. Mend it in params.yaml."
        ) from error
    return net


def _extractor(path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Constructor arguments and weights of a classifier of ours."""
    tensors, meta = load_arrays(path)
    if meta.get("role") not in _CLASSIFIERS:
        raise UserError(
            f"{path}: holds no classifier; wanted what `guidelab discriminate` makes of the role classifier"
        )
    prefix = f"seed{meta['seeds'][0]}/"
    return meta["net"], {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_labels(images: Images, classes: int, path: str, disc: str) -> None:
    if images.labels is None:
        raise UserError(
            f"{path}: has no labels, and {disc} needs them. Give labelled images, or a net that is told no class "
            "(conditional: false)."
        )
    if len(images) and int(images.labels.max()) >= classes:
        raise UserError(f"{path}: has a label {int(images.labels.max())}, wanted 0 to {classes - 1}")


def _check_alike(real: Images, generated: Images, real_path: str, generated_path: str) -> None:
    if real.x.shape[1:] != generated.x.shape[1:]:
        raise UserError(
            f"{generated_path}: images are {tuple(generated.x.shape[1:])}, those of {real_path} are "
            f"{tuple(real.x.shape[1:])}; wanted the same channels and side"
        )


def _save(
    job: Mapping[str, Any],
    config: Mapping[str, Any],
    tensors: dict[str, Tensor],
    reports: Mapping[str, Any],
    history: Mapping[str, Any],
    iterations: list[int],
    output: Path,
) -> None:
    about = {
        "kind": "discriminator",
        "role": job["role"],
        "net": config,
        "seeds": job["train_seeds"],
        "reports": reports,
        "iterations": iterations,
        "history": history,
        "code": job["code"],
    }
    save_arrays(output, tensors, about)
