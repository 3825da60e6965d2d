"""Draw images of nets in files with the job `sample`, for any seeds and weights, as PNG files or shards."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from guidelab.errors import UserError
from guidelab.jobs.sample import run as draw
from guidelab.spec import format_weight
from guidelab.study import drawing, pictures
from guidelab.study.nets import common_seed
from guidelab.study.seeds import blocks_of

LOCK = ".lock"
WORK = ".guidelab"  # converted nets, and shards that are not PNGs yet


@dataclass(frozen=True)
class Request:
    """What is to be drawn.

    Attributes:
        nets: of the sampler. weights: of the guide, one folder each. seeds: of the samples, ascending.
        output: folder. sampler: its options. sampling: precision and batch.
        interval: noise levels at which the guide acts. disc_w: weight of the discriminator.
        class_: one class of all samples; None draws it. train_seed: of nets with several.
        shards: keep shards and write no PNGs. subdirs: a folder for every 1,000 PNGs. sheet: write a contact sheet.
    """

    nets: drawing.Nets
    weights: Sequence[float]
    seeds: Sequence[int]
    output: Path
    sampler: dict[str, Any]
    sampling: dict[str, Any] = field(default_factory=dict)
    interval: tuple[float, float | None] = (0.0, None)
    disc_w: float = 1.0
    class_: int | None = None
    train_seed: int | None = None
    shards: bool = False
    subdirs: bool = False
    sheet: bool = True


def generate(request: Request, shared: Sequence[str] | None = None) -> list[Path]:
    """Draw all samples that are not there yet; returns the folders of the weights.

    Args:
        request: what to draw.
        shared: the beginning of a command that runs a job in several processes; None for this process alone.
    Raises:
        UserError: nets that do not go together, an output folder of something else or in use, a full disk.
    """
    nets, folders = request.nets, []
    nets.check()
    seed = common_seed(list(nets.by_label.values()), request.train_seed)
    jobs = {w: _job(request, w, seed) for w in request.weights}
    with _alone(request.output):
        todo = {}
        for w, job in jobs.items():
            folder = request.output if len(jobs) == 1 else request.output / format_weight(w)
            todo[w] = (folder, _left(request, job, folder))
        work = request.output / WORK
        inputs = _inputs(nets, work, seed) if any(seeds for _, seeds in todo.values()) else {}
        for w, (folder, seeds) in todo.items():
            folders.append(folder)
            if seeds:
                _one(request, {**jobs[w], "inputs": inputs, "blocks": blocks_of(seeds)}, folder, work, shared)
        pictures.drop(work)
    return folders


def _job(request: Request, w: float, seed: int) -> dict[str, Any]:
    terms = drawing.terms_of(request.nets, w, request.disc_w, request.interval)
    return drawing.sample_job(
        request.nets, terms, request.sampler, request.sampling,
        name=format_weight(w), class_=request.class_, seed=seed, blocks={},
    )  # fmt: skip


def _left(request: Request, job: dict[str, Any], folder: Path) -> list[int]:
    """The seeds that are still to be drawn; of shards all, as those that are there are kept."""
    if request.shards:
        kept = {key: job[key] for key in ("terms", "sampler", "labels", "latent", "code")}
        pictures.check_shards(folder, kept | {"blocks": blocks_of(request.seeds)})
        return list(request.seeds)
    held = set(pictures.listed(folder, _settings(request, job)))
    return [seed for seed in request.seeds if seed not in held]


def _settings(request: Request, job: dict[str, Any]) -> dict[str, Any]:
    """What all PNGs of a folder share."""
    kept = ("terms", "sampler", "labels", "train_seeds", "latent", "uint8", "precision", "code")
    nets = {label: net.sha256 for label, net in request.nets.by_label.items()}
    return {"nets": nets, "subdirs": request.subdirs} | {key: job[key] for key in kept}


def _inputs(nets: drawing.Nets, work: Path, seed: int) -> dict[str, list[str]]:
    """The files of a job; released nets are converted once."""
    found = {
        label: [net.stored(work / "nets", label.replace(":", "_"), seed)]
        for label, net in nets.by_label.items()
    }
    if nets.autoencoder:
        from guidelab.autoencoder import save_autoencoder
        from guidelab.checkpoints.released import read_released

        target = work / "nets" / "autoencoder.safetensors"
        if not target.is_file():
            save_autoencoder(target, *read_released(nets.autoencoder, "vae"), {})
        found["autoencoder"] = [str(target)]
    return found


def _one(
    request: Request, job: dict[str, Any], folder: Path, work: Path, shared: Sequence[str] | None
) -> None:
    """Draw the samples of one weight."""
    manifest = (folder if request.shards else work / job["variant"]) / pictures.MANIFEST
    if shared is None:
        draw(job, [manifest])
    else:
        given = [
            "--job",
            json.dumps(job),
            "--output",
            str(manifest),
        ]  # of few blocks: short enough for an argument
        done = subprocess.run([*shared, *given], check=False)
        if done.returncode:
            raise UserError(
                f"{folder}: the processes that draw its samples failed; run the same command again to continue"
            )
    if request.sheet:
        pictures.write_sheet(folder.with_name(f"{folder.name}.png"), manifest)
    if not request.shards:
        pictures.write_pngs(folder, manifest, _settings(request, job))


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output folder.

    Raises:
        UserError: it is a file, cannot be written, or another process fills it.
    """
    try:
        (output / WORK).mkdir(parents=True, exist_ok=True)
        with FileLock(output / LOCK, timeout=0):
            try:
                yield
            finally:
                _tidied(output)
    except Timeout as error:
        raise UserError(
            f"{output}: another process fills this folder; wait for it, or give another one"
        ) from error
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({error.strerror or error}); give --output another folder"
        ) from error


def _tidied(output: Path) -> None:
    """Remove the work folder where it holds nothing, the lock, and an output folder that was made for nothing."""
    with contextlib.suppress(OSError):
        (output / WORK).rmdir()
    with contextlib.suppress(OSError):
        (output / LOCK).unlink()
        output.rmdir()
