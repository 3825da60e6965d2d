"""Write samples as PNG files with a list of seeds and labels, and a contact sheet."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from guidelab.errors import UserError
from guidelab.io import atomic_write
from guidelab.io.shards import load_manifest
from guidelab.jobs.extract import opened
from guidelab.jobs.preview import tile

LISTING = "dataset.json"  # EDM2's file of labels, with one more key
_OURS = "guidelab"  # that key: the settings and seeds of all images
MANIFEST = "samples.json"  # of a folder of shards
_EMPTY = "give --output a new or empty folder"
_SHEET, _COLUMNS, _SUBDIR = 64, 8, 1000


def name_of(seed: int, subdirs: bool) -> str:
    """The file of a seed, named as by EDM2's generator."""
    return f"{seed // _SUBDIR * _SUBDIR:06d}/{seed:06d}.png" if subdirs else f"{seed:06d}.png"


def is_ours(folder: Path) -> bool:
    """Whether a folder holds samples that were written here."""
    return _OURS in _listing(folder)


def _listing(folder: Path) -> dict[str, Any]:
    """The content of a folder's dataset.json; empty where there is none."""
    try:
        found = json.loads((folder / LISTING).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def listed(folder: Path, settings: Mapping[str, Any]) -> list[int]:
    """The seeds a folder holds already, all of these settings.

    Raises:
        UserError: it holds other files, or samples of other settings.
    """
    held = _listing(folder).get(_OURS)
    if not isinstance(held, dict):
        _refuse_others(folder)
        return []
    of = held.get("settings", {})
    _compare(folder, of, settings)
    return [seed for seed in held.get("seeds", []) if (folder / name_of(seed, bool(of["subdirs"]))).is_file()]


def write_pngs(folder: Path, manifest: Path, settings: Mapping[str, Any]) -> None:
    """One PNG a sample, then the list of seeds and labels; a PNG is complete or absent."""
    held = _listing(folder)
    seeds = set(held.get(_OURS, {}).get("seeds", []))
    labels = dict(held.get("labels") or [])
    total = load_manifest(manifest)["shards"]
    bar = tqdm(
        total=sum(shard["n"] for shard in total), desc="PNG", unit="image", mininterval=1.0, leave=False
    )
    for numbers, images, classes in drawn(manifest):
        for row, number in enumerate(numbers):
            name = name_of(number, bool(settings["subdirs"]))
            with atomic_write(folder / name) as temporary:
                _picture(images[row]).save(temporary, format="PNG")
            seeds.add(number)
            if classes is not None:
                labels[name] = int(classes[row])
            bar.update()
    bar.close()
    listed_labels = [[name, labels[name]] for name in sorted(labels)] or None
    ours = {"settings": dict(settings), "seeds": sorted(seeds)}
    with atomic_write(folder / LISTING) as temporary:
        temporary.write_text(json.dumps({"labels": listed_labels, _OURS: ours}) + "\n", encoding="utf-8")


def drawn(manifest: Path) -> Iterator[tuple[range, Tensor, Tensor | None]]:
    """Shard by shard, in constant memory: seeds, images `[n, C, H, W]` uint8, labels `[n]` or None."""
    source, _, pieces = opened(str(manifest))
    ahead_of = {name: first for name, (first, _) in source["blocks"].items()}
    for piece in pieces:
        block = piece.prefix.split("/")[1]
        first = ahead_of[block]
        ahead_of[block] += len(piece.images)
        yield range(first, ahead_of[block]), piece.images, piece.labels


def check_shards(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder with shards of another run: those that a new manifest does not list would be deleted.

    Raises:
        UserError: it holds shards of other settings or seeds, or other files.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        _compare(folder, load_manifest(manifest), settings)
        return
    _refuse_others(folder, (manifest.stem, manifest.name))


def _refuse_others(folder: Path, own: Sequence[str] = ()) -> None:
    """Refuse a folder with files other than its own; hidden ones are ignored."""
    held = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = sorted(name for name in held if name[0] != "." and name not in own)
    if others:
        raise UserError(f"{folder}: holds other files ({', '.join(others[:3])}); {_EMPTY}")


def _compare(folder: Path, of: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    for key, wanted in json.loads(json.dumps(settings)).items():
        if of.get(key) != wanted:
            raise UserError(
                f"{folder}: holds samples with {key} {str(of.get(key))[:200]}, wanted {str(wanted)[:200]}; {_EMPTY}"
            )


def _picture(image: Tensor) -> Image.Image:
    """An image `[C, H, W]` uint8."""
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)


def write_sheet(target: Path, manifest: Path) -> None:
    """The first images of a manifest side by side."""
    parts: list[Tensor] = []
    for _, images, _ in drawn(manifest):
        parts.append(images)
        if sum(map(len, parts)) >= _SHEET:
            break
    first = torch.cat(parts)[:_SHEET]
    sheet = tile(first, _COLUMNS, max(1, 64 // first.shape[-1]))
    with atomic_write(target) as temporary:
        _picture(sheet.permute(2, 0, 1)).save(temporary, format="PNG", optimize=True)


def drop(work: Path) -> None:
    """Remove the folder of shards and converted nets."""
    with contextlib.suppress(OSError):
        shutil.rmtree(work)
