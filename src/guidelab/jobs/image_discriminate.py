"""`guidelab discriminate` for images: a discriminator for each training seed of the sampler, or one classifier."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from guidelab import registry
from guidelab.compute.device import device, settle
from guidelab.compute.processes import process_group
from guidelab.data.zip_reader import ZipImages, ZipLatents
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.jobs.examples import ShardImages, check_labels, event_shape, open_examples
from guidelab.sampling import progress
from guidelab.shards import load_manifest
from guidelab.train.classifiers import train_classifier
from guidelab.train.discriminators import train_discriminator
from guidelab.train.loader import Kept
from guidelab.train.precision import Precision
from guidelab.train.sides import Side
from guidelab.train.state import drop_state, state_folder
from guidelab.train.streams import stream

_CLASSIFIERS = ("classifier", "features")
_EXTRACTORS = ("adm_classifier", "small_classifier")
_KEPT_VALUES = 1 << 29  # 2 GiB: networks larger than this together are not kept at every evaluation
Examples = ZipImages | ZipLatents


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train what the job's role names; save the nets, each one's held-out report and the course of its training.

    Raises:
        UserError: files that do not fit the job or each other, or several processes: this job has one.
    """
    precision, real = opened(job)
    if job["role"] in _CLASSIFIERS:
        _classifier(job, real, precision, outputs[0])
    else:
        _discriminators(job, real, precision, outputs[0])


def opened(job: Mapping[str, Any]) -> tuple[Precision, Examples]:
    """Where and how the job's nets are evaluated, and its real examples.

    Raises:
        UserError: several processes, or a file that does not fit the job.
    """
    if process_group().size > 1:
        raise UserError(f"{job['disc']}: is trained by one process; start it without torchrun")
    where = device()
    settle(where)
    (path,) = job["inputs"]["real"]
    return Precision(where, job["train"].get("precision") or "float32"), open_examples(
        path, job.get("latent")
    )


def _classifier(job: dict[str, Any], real: Examples, precision: Precision, output: Path) -> None:
    config = net_config(job, real, job["classes"])
    check_labels(real.labels, job["classes"], real.path, job["disc"])
    folder = state_folder(job)
    net = build(config, job["train"]["seed"])
    state, report, history = train_classifier(job["train"], net, side_of(real, True), folder, precision)
    (seed,) = job["train_seeds"]
    tensors = {f"seed{seed}/{name}": value for name, value in state.items()}
    iterations = [row[0] for row in history]
    _save(job, config, tensors, {str(seed): report}, {str(seed): history}, iterations, output)
    drop_state(folder)


def _discriminators(job: dict[str, Any], real: Examples, precision: Precision, output: Path) -> None:
    classes = job["classes"] if job["net"].get("conditional") else 0
    config = net_config(job, real, classes)
    extractor: dict[str, Tensor] = {}
    if job["inputs"].get("extractor"):
        config["extractor"], extractor = _extractor(job["inputs"]["extractor"][0])
    if classes:
        check_labels(real.labels, classes, real.path, job["disc"])
    real_side = side_of(real, bool(classes))
    tensors: dict[str, Tensor] = {}
    reports, history, iterations = {}, {}, set()
    for seed in progress(job["train_seeds"], job["disc"]):
        generated = _generated(job, real, seed, classes)
        own = 1000 * job["train"]["seed"] + seed
        net = build(config, own)
        if extractor:
            net.extractor.load_state_dict(extractor)  # type: ignore[operator, union-attr]
        state, report, outcome = train_discriminator(
            job["train"],
            net,
            real_side,
            generated,
            own,
            state_folder(job) / f"seed{seed}",
            precision,
        )
        tensors |= {f"seed{seed}/{name}": value for name, value in state.items()}
        for iteration, snapshot in _worth_keeping(outcome.snapshots, state, len(job["train_seeds"])).items():
            kept = {name.removeprefix("param/"): value for name, value in snapshot.items()}
            # complete, frozen parts too: each can be loaded by itself
            tensors |= {f"it{iteration}/seed{seed}/{n}": v for n, v in {**state, **kept}.items()}
            iterations.add(iteration)
        reports[str(seed)], history[str(seed)] = report, outcome.history
    _save(job, config, tensors, reports, history, sorted(iterations), output)
    drop_state(state_folder(job))


def _generated(job: Mapping[str, Any], real: Examples, seed: int, classes: int) -> Side:
    """The samples of one training seed.

    Raises:
        UserError: they are absent, of another shape than the real ones, or lack labels.
    """
    (path,) = job["inputs"]["generated"]
    if isinstance(real, ZipLatents):
        found: ZipLatents | ShardImages = _latents(path, job["latent"])
    else:
        blocks = load_manifest(path)["blocks"]
        found = ShardImages(path, seed, "generated" if "generated" in blocks else job["disc"])
    if found.shape != real.shape:
        raise UserError(
            f"{path}: holds {found.shape}, but {real.path} holds {real.shape}; wanted the same channels and side"
        )
    if classes:
        check_labels(found.labels, classes, path, job["disc"])
    side = side_of(found, bool(classes))
    if isinstance(found, ZipLatents) and found.parts:
        if seed not in found.parts:
            raise UserError(
                f"{path}: holds no samples of training seed {seed}; it has {sorted(found.parts)}. Delete it and run again."
            )
        rows = found.parts[seed]
        return side[slice(rows.start, rows.stop)]
    return side


def _latents(path: str, latent: Mapping[str, Any]) -> ZipLatents:
    if not path.endswith(".zip"):
        raise UserError(
            f"{path}: is no ZIP; wanted latents of the samples, as the real ones are latents. Encode them."
        )
    found = open_examples(path, latent)
    assert isinstance(found, ZipLatents)  # `latent` was given
    return found


def side_of(found: Examples | ShardImages, conditional: bool) -> Side:
    """All examples, with their labels for a conditional net; decoded images stay in memory if they are small."""
    labels = found.labels if conditional else None
    if isinstance(found, ZipLatents):
        return Side.all(found, labels, found.encoding.standardise)
    return Side.all(Kept(found, found.shape), labels)


def _worth_keeping(
    snapshots: Mapping[int, Any], state: Mapping[str, Tensor], seeds: int
) -> Mapping[int, Any]:
    """All snapshots of small networks, none of large ones: each would hold the frozen extractor again."""
    values = sum(value.numel() for value in state.values())
    return snapshots if values * len(snapshots) * seeds <= _KEPT_VALUES else {}


def net_config(job: Mapping[str, Any], examples: Examples, classes: int) -> dict[str, Any]:
    """Complete constructor arguments, with the network's name."""
    channels, side, _ = event_shape(examples)
    size = {"resolution_px": side, "image_channels": channels, "classes": classes}
    return {**{k: v for k, v in job["net"].items() if k != "conditional"}, **size}


def _extractor(path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Constructor arguments and weights of a classifier, ours or a released one."""
    tensors, meta = load_arrays(path)
    if meta.get("net", {}).get("name") not in _EXTRACTORS:
        raise UserError(
            f"{path}: holds no classifier; wanted what `guidelab discriminate` makes of the role classifier, or a released "
            "classifier"
        )
    prefix = f"seed{meta['seeds'][0]}/"
    return meta["net"], {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def build(config: Mapping[str, Any], seed: int) -> nn.Module:
    """A net with the first weights of a seed.

    Raises:
        UserError: arguments that do not fit it.
    """
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
