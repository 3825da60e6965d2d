"""Encode a fold, or the samples of a run, into an autoencoder's means and standard deviations."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.autoencoder import Autoencoder, load_autoencoder
from guidelab.compute.device import device, memory_named
from guidelab.compute.precision import settle
from guidelab.data.latents import holds_latents
from guidelab.data.zip_reader import ZipImages, ZipLatents
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError
from guidelab.io import atomic_write, load_arrays, sha256, wanted
from guidelab.io.shards import folder_of, load_manifest

BATCH = 16  # images at a time; results depend on it by rounding only
_AHEAD = 2  # batches waiting for each device: it never waits for the disk, and few are in memory
Batch = tuple[Tensor, Tensor | None]  # images [n, 3, H, W] uint8, or their moments; labels [n]


@dataclass(frozen=True)
class Images:
    """What is encoded: batches in order, how many images, and where those of each training seed stand."""

    where: str
    batches: Iterator[Batch]
    count: int
    parts: dict[str, list[int]]  # training seed -> its first and last index; empty for a fold


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the latents of a fold's images, or of one block of samples, with the encoding's name and the labels.

    A few batches of a fold, or one shard of samples, are in memory at a time. All GPUs of the machine take part.
    """
    (path,), (weights,) = job["inputs"]["images"], job["inputs"]["autoencoder"]
    if path.endswith(".zip") and holds_latents(path):
        _copied(path, job["latent"], outputs[0])
        return
    latent, size = job["latent"], job.get("batch", BATCH)
    images = _fold(path, size) if path.endswith(".zip") else _samples(path, job["block"], size)
    about: dict[str, Any] = {"encoding": latent["encoding"], "autoencoder_sha256": sha256(weights)}
    nets = [load_autoencoder(weights, where, job.get("precision", "float32")) for where in _devices()]
    with (
        atomic_write(outputs[0]) as temporary,
        ZipWriter(temporary, about | ({"parts": images.parts} if images.parts else {})) as writer,
        tqdm(total=images.count, desc="encode", unit="image", mininterval=1.0, dynamic_ncols=True) as bar,
        memory_named(outputs[0].name, "the number of images at a time (`batch`)"),
    ):
        for moments, labels in _encoded(images, nets, latent, size):
            for row, one in enumerate(moments.numpy()):
                writer.add_latent(one, None if labels is None else int(labels[row]))
            bar.update(len(moments))


def _copied(path: str, latent: dict[str, Any], output: Path) -> None:
    """Take over a fold of latents that a user encoded, after checking that they are those planned."""
    found = ZipLatents(path, latent["encoding"])
    shape = (2 * latent["channels"], latent["side_px"], latent["side_px"])
    if found.shape != shape:
        raise UserError(
            f"{path}: holds latents of {found.shape}, wanted {shape}. Mend latent.side_px and latent.channels of the dataset."
        )
    about = {"encoding": latent["encoding"]}
    with atomic_write(output) as temporary, ZipWriter(temporary, about) as writer:
        for index in range(len(found)):
            writer.add_latent(
                found[index].numpy(), None if found.labels is None else int(found.labels[index])
            )


def _devices() -> list[torch.device]:
    """Every GPU of this machine, unless GUIDELAB_DEVICE names one device or there is none."""
    first = device()
    settle(first)
    if first.type != "cuda" or os.environ.get("GUIDELAB_DEVICE"):
        return [first]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def _encoded(images: Images, nets: list[Autoencoder], latent: dict[str, Any], size: int) -> Iterator[Batch]:
    """Moments `[n, 2C, h, w]` on the CPU and labels of every batch, in order, whichever net encodes it.

    A thread for each net: reading and writing continue meanwhile, and no batch depends on how many nets there are.
    """
    with contextlib.ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in nets]
        waiting: deque[tuple[Future[Tensor], Tensor | None]] = deque()
        try:
            for index, (x, labels) in enumerate(images.batches):
                net = nets[index % len(nets)]
                _check(images.where, x, net, latent)
                waiting.append(
                    (threads[index % len(nets)].submit(_encode, net, x, latent["encoding"], size), labels)
                )
                if len(waiting) > _AHEAD * len(nets):
                    future, given = waiting.popleft()
                    yield future.result(), given
            while waiting:
                future, given = waiting.popleft()
                yield future.result(), given
        finally:
            for future, _ in waiting:
                future.cancel()


def _encode(net: Autoencoder, x: Tensor, encoding: str, size: int) -> Tensor:
    return net.encode(x, encoding, size).cpu()


def _check(where: str, x: Tensor, net: Autoencoder, latent: dict[str, Any]) -> None:
    """Refuse images of which this autoencoder makes other latents than planned."""
    given = (net.channels, x.shape[-1] / net.factor)
    wished = (latent["channels"], latent["side_px"])
    if x.shape[1] != 3 or given != wished:
        raise UserError(
            f"{where}: images of {x.shape[1]} x {x.shape[2]} x {x.shape[3]} become latents of {given[0]} channels and "
            f"{given[1]:g} px by the autoencoder {latent['autoencoder']} (its factor is {net.factor}), wanted {wished[0]} and "
            f"{wished[1]} px. Mend resolution_px, or latent.side_px and latent.channels, of the dataset."
        )


def _fold(path: str, size: int) -> Images:
    fold = ZipImages(path)

    def batches() -> Iterator[Batch]:
        for start in range(0, len(fold), size):
            part = slice(start, start + size)
            yield fold[part], None if fold.labels is None else fold.labels[part]

    return Images(path, batches(), len(fold), {})


def _samples(path: str, block: str, size: int) -> Images:
    """One block of a manifest, its training seeds one after the other."""
    listed = [shard for shard in load_manifest(path)["shards"] if shard["block"] == block]
    if not listed:
        raise UserError(f"{path}: holds no block {block!r}. Delete it and run again.")
    listed.sort(key=lambda shard: (shard["train_seed"], shard["first"]))
    parts: dict[str, list[int]] = {}
    count = 0
    for shard in listed:
        first = parts.get(str(shard["train_seed"]), [count])[0]
        count += shard["n"]
        parts[str(shard["train_seed"])] = [first, count - 1]

    def batches() -> Iterator[Batch]:
        for shard in listed:
            x, labels = _shard(folder_of(path) / shard["file"], shard, path)
            for start in range(0, len(x), size):
                part = slice(start, start + size)
                yield x[part], None if labels is None else labels[part]

    return Images(path, batches(), count, parts)


def _shard(path: Path, listed: dict[str, Any], manifest: str) -> Batch:
    if not path.is_file() or sha256(path) != listed["sha256"]:
        state = "is not the file its manifest lists" if path.is_file() else "is missing"
        raise UserError(f"{path}: {state}. Delete it and {manifest} and run again: the other shards stay.")
    tensors, _ = load_arrays(path)
    return wanted(tensors, "images", path, (listed["n"], None, None, None)), tensors.get("labels")
