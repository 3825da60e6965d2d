"""`guidelab discriminate` at the papers' size: as for images, from files read as they are needed, on a device."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from guidelab.cli.images.discriminate import _build, _save
from guidelab.cli.large.examples import ShardImages, check_labels, event_shape, open_examples
from guidelab.cli.runtime import drop_state, state_folder
from guidelab.compute.device import device, settle
from guidelab.compute.processes import process_group
from guidelab.data.large.stream import ZipImages, ZipLatents
from guidelab.errors import UserError
from guidelab.io import load_arrays
from guidelab.sampling import progress
from guidelab.shards import load_manifest
from guidelab.train.large.classifiers import train_classifier
from guidelab.train.large.discriminators import train_discriminator
from guidelab.train.large.machine import Machine
from guidelab.train.large.sides import Side

_CLASSIFIERS = ("classifier", "features")
_EXTRACTORS = ("adm_classifier", "small_classifier")
_KEPT_VALUES = 1 << 29  # 2 GiB: networks larger than this together are not kept at every evaluation


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train what the job's role asks for; save the nets, each one's held-out report and the course of its training.

    Raises:
        UserError: files that do not fit the job or each other, or several processes: this job has one.
    """
    if process_group().size > 1:
        raise UserError(f"{job['disc']}: is trained by one process; start it without torchrun")
    where = device()
    settle(where)
    machine = Machine(where, job["train"].get("precision") or "float32")
    (path,) = job["inputs"]["real"]
    real = open_examples(path, job.get("latent"))
    if job["role"] in _CLASSIFIERS:
        _classifier(job, real, machine, outputs[0])
    else:
        _discriminators(job, real, machine, outputs[0])


def _classifier(job: dict[str, Any], real: ZipImages | ZipLatents, machine: Machine, output: Path) -> None:
    config = _net_config(job, real, job["classes"])
    check_labels(real.labels, job["classes"], real.path, job["disc"])
    folder = state_folder(job)
    net = _build(config, job["train"]["seed"])
    state, report, history = train_classifier(job["train"], net, _side(real, True), folder, machine)
    (seed,) = job["train_seeds"]
    tensors = {f"seed{seed}/{name}": value for name, value in state.items()}
    iterations = [row[0] for row in history]
    _save(job, config, tensors, {str(seed): report}, {str(seed): history}, iterations, output)
    drop_state(folder)


def _discriminators(
    job: dict[str, Any], real: ZipImages | ZipLatents, machine: Machine, output: Path
) -> None:
    classes = job["classes"] if job["net"].get("conditional") else 0
    config = _net_config(job, real, classes)
    extractor: dict[str, Tensor] = {}
    if job["inputs"].get("extractor"):
        config["extractor"], extractor = _extractor(job["inputs"]["extractor"][0])
    if classes:
        check_labels(real.labels, classes, real.path, job["disc"])
    tensors: dict[str, Tensor] = {}
    reports, history, iterations = {}, {}, set()
    for seed in progress(job["train_seeds"], job["disc"]):
        generated = _generated(job, real, seed, classes)
        own = 1000 * job["train"]["seed"] + seed
        net = _build(config, own)
        if extractor:
            net.extractor.load_state_dict(extractor)  # type: ignore[operator, union-attr]
        state, report, outcome = train_discriminator(
            job["train"],
            net,
            _side(real, bool(classes)),
            generated,
            own,
            state_folder(job) / f"seed{seed}",
            machine,
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


def _generated(job: Mapping[str, Any], real: ZipImages | ZipLatents, seed: int, classes: int) -> Side:
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
    side = _side(found, bool(classes))
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
    assert isinstance(found, ZipLatents)  # it was asked for latents
    return found


def _side(found: ZipImages | ZipLatents | ShardImages, told: bool) -> Side:
    standardise = found.encoding.standardise if isinstance(found, ZipLatents) else None
    return Side.all(found, found.labels if told else None, standardise)


def _worth_keeping(
    snapshots: Mapping[int, Any], state: Mapping[str, Tensor], seeds: int
) -> Mapping[int, Any]:
    """All snapshots of small networks, none of large ones: each would hold the frozen extractor again."""
    values = sum(value.numel() for value in state.values())
    return snapshots if values * len(snapshots) * seeds <= _KEPT_VALUES else {}


def _net_config(job: Mapping[str, Any], examples: ZipImages | ZipLatents, classes: int) -> dict[str, Any]:
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
