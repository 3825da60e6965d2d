"""`guidelab extract`: features of every image of a run or of a fold, once, for all metrics that need them."""

import inspect
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.checkpoints.store import locate, pin
from guidelab.compute.device import device, memory_named
from guidelab.compute.precision import moved, settle
from guidelab.compute.processes import process_group
from guidelab.data.zip_reader import ZipImages
from guidelab.environment import whole
from guidelab.errors import UserError
from guidelab.features.extractor import Extracted, Extractor
from guidelab.io import save_arrays, sha256
from guidelab.io.shards import _read, folder_of, load_manifest
from guidelab.registry import EXTRACTORS, NETS

BATCH = {"cpu": 64, "cuda": 256}  # images; rows depend on it by rounding only
PIECE = 1024  # images of a fold read at once
_AHEAD = 2  # pieces read before they are needed


class Piece(NamedTuple):
    """Images read together.

    Attributes:
        prefix: of the tensors they belong to: `seed0/a/` of a manifest, empty for a fold.
        total: how many images all pieces of this prefix hold.
        images: `[n, C, H, W]` uint8. labels: `[n]` int64, or None.
    """

    prefix: str
    total: int
    images: Tensor
    labels: Tensor | None


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Extract the features of a manifest's blocks, or of a fold's images, and save them.

    Of several processes the first does it alone.

    Raises:
        UserError: weights or images that are absent, damaged or different from the list; too little memory.
    """
    if not process_group().leader:
        return
    (path,) = job["inputs"]["images"]
    where = device()
    settle(where)
    options = released(job)
    extractor = on_device(build_extractor({**job, "extractor": options}), where)
    if job["extractor"].get("checkpoint"):  # its weights were read and fit
        pin(job["extractor"]["checkpoint"], job["extractor"].get("folder"))
    source, total, pieces = opened(path)
    with tqdm(total=total, desc=job["features"], unit="image", mininterval=1.0, dynamic_ncols=True) as bar:
        tensors = gathered(ahead(pieces), extractor, where, bar)
    about = {
        "kind": "features",
        "features": job["features"],
        "extractor": {key: value for key, value in job["extractor"].items() if key != "folder"},
        "features_sha256": extractor.sha256,
        "source": source,
        "images_sha256": sha256(path),
        "code": job["code"],
    }
    save_arrays(outputs[0], tensors, about)


def released(job: dict[str, Any]) -> dict[str, Any]:
    """The extractor's options, a row of checkpoints.csv in them turned into the path of its file.

    Raises:
        UserError: the file is absent (says what to fetch from where and where to put it), or not the pinned one.
    """
    options = dict(job["extractor"])
    row, folder = options.pop("checkpoint", None), options.pop("folder", None)
    if row is None:
        return options
    options["path"] = str(locate(row, folder))
    # where no hash is published the extractor itself knows what it takes
    return {"sha256": row["sha256"], **options} if row["sha256"] else options


def build_extractor(job: dict[str, Any]) -> Extractor:
    """The registered extractor with the job's options; a trained one gets its net's file and the registry.

    Raises:
        UserError: an option the extractor does not know, or one it needs and was not given.
    """
    options = dict(job["extractor"])
    name = options.pop("name")
    if "net" in job["inputs"]:
        options |= {"net_path": job["inputs"]["net"][0], "load_net": NETS.load}
    make = EXTRACTORS.load(name)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise UserError(f"features.{job['features']}: {name}: {error}; wanted options of {known}") from error
    extractor: Extractor = make(**options)
    return extractor


def on_device(extractor: Any, where: torch.device) -> Extractor:
    """The extractor with its weights, if it has any, on the device; what it returns is there too."""
    holders = (extractor, getattr(extractor, "net", None))
    moves: Any = next((holder.to for holder in holders if hasattr(holder, "to")), None)  # type: ignore[union-attr]
    if moves is not None:
        moves(where)
    found: Extractor = extractor
    return found


def opened(path: str) -> tuple[dict[str, Any], int, Iterator[Piece]]:
    """What a file holds, how many images, and the images piece by piece."""
    if path.endswith(".zip"):
        fold = ZipImages(path)
        return {"fold": Path(path).stem, "n": len(fold)}, len(fold), _of_fold(fold)
    source = {key: value for key, value in load_manifest(path).items() if key != "shards"}
    total = len(source["seeds"]) * sum(last - first + 1 for first, last in source["blocks"].values())
    return source, total, _of_samples(path, source)


def _of_fold(fold: ZipImages) -> Iterator[Piece]:
    for first in range(0, len(fold), PIECE):
        rows = slice(first, min(first + PIECE, len(fold)))
        yield Piece("", len(fold), fold[rows], None if fold.labels is None else fold.labels[rows])


def _of_samples(path: str, source: dict[str, Any]) -> Iterator[Piece]:
    """Shard by shard, in the manifest's order, each compared with the hash it lists."""
    listed, folder = load_manifest(path)["shards"], folder_of(path)
    for seed in source["seeds"]:
        for block, (first, last) in source["blocks"].items():
            shards = [s for s in listed if (s["train_seed"], s["block"]) == (seed, block)]
            held, total = sum(s["n"] for s in shards), last - first + 1
            if held != total:
                raise UserError(
                    f"{path}: block {block!r} of training seed {seed} holds {held} images, wanted {total}. "
                    f"Delete {path} and run again."
                )
            for shard in shards:
                tensors = _read(folder / shard["file"], shard, path)
                yield Piece(f"seed{seed}/{block}/", total, tensors["images"], tensors.get("labels"))


def ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, read by a thread while the ones before are worked on."""
    ready: queue.Queue[Piece | BaseException | None] = queue.Queue(_AHEAD)
    left = threading.Event()

    def put(item: Piece | BaseException | None) -> None:
        while not left.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for piece in pieces:
                put(piece)
                if left.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again where the pieces are wanted
            put(error)

    threading.Thread(target=read, daemon=True, name="images").start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()


def gathered(
    pieces: Iterator[Piece], extractor: Extractor, where: torch.device, bar: "tqdm[Any] | None" = None
) -> dict[str, Tensor]:
    """Features, and where there are any logits, spatial features and labels, of all pieces, by prefix and name."""
    tensors: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    for prefix, total, images, labels in pieces:
        start = filled.get(prefix, 0)
        for name, rows in _extracted(extractor, images, labels, where, bar).items():
            key = f"{prefix}{name}"
            if key not in tensors:  # whole at once: a list of parts would need twice the memory at the end
                tensors[key] = rows.new_empty((total, *rows.shape[1:]))
            tensors[key][start : start + len(rows)] = rows
        filled[prefix] = start + len(images)
    return tensors


def _extracted(
    extractor: Extractor,
    images: Tensor,
    labels: Tensor | None,
    where: torch.device,
    bar: "tqdm[Any] | None",
) -> dict[str, Tensor]:
    """What an extractor says of one piece's images, on the CPU; copied from the device once."""
    found: list[Extracted] = []
    size = whole("GUIDELAB_EXTRACT_BATCH", BATCH.get(where.type, 64))
    for batch in torch.split(images, size):
        with memory_named("extract", f"GUIDELAB_EXTRACT_BATCH (now {size})"):
            found.append(extractor(moved(batch, where)))
        if bar is not None:
            bar.update(len(batch))
    held = {} if labels is None else {"labels": labels}
    for name in ("features", "logits", "spatial"):
        parts = [part for part in (getattr(each, name, None) for each in found) if part is not None]
        if parts:
            held[name] = torch.cat(parts).cpu()
    return held
