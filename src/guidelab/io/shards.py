"""Generated images on disk: shards of a block of seeds, each complete or absent, and the manifest that lists them.

`<part>.json` is the manifest; the shards are next to it in `<part>/seed<S>/<block>/<first>-<last>.safetensors` and
hold `images [n, C, H, W]` uint8 and, for conditional samplers, `labels [n]` int64.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io import atomic_write, load_arrays, save_arrays, sha256, wanted

MANIFEST_BYTES = 1 << 28  # two million shards
Make = Callable[[int, int], tuple[Tensor, Tensor | None]]  # (first seed, last seed) -> images, labels


@dataclass(frozen=True)
class Shard:
    """One range of sample seeds: training seed, block, first and last sample seed."""

    train_seed: int
    block: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """The file, relative to the manifest's folder of shards."""
        return f"seed{self.train_seed}/{self.block}/{self.first}-{self.last}.safetensors"

    @property
    def n(self) -> int:
        """How many images it holds."""
        return self.last - self.first + 1


def split(train_seed: int, block: str, seeds: Sequence[int], size: int) -> list[Shard]:
    """A block of sample seeds (first and last) in shards of at most `size`, in order."""
    first, last = seeds
    return [Shard(train_seed, block, a, min(a + size - 1, last)) for a in range(first, last + 1, size)]


def folder_of(manifest: str | Path) -> Path:
    """The folder of a manifest's shards: its path without the suffix."""
    return Path(manifest).with_suffix("")


def write_shard(folder: Path, shard: Shard, about: Mapping[str, Any], make: Make) -> bool:
    """Write a shard unless it exists, complete and of the same sampler.

    Args:
        folder: of all shards of one manifest.
        shard: which seeds.
        about: what decides the images; a shard made from anything else is made again.
        make: draws the images.
    Returns:
        Whether it had to be made.
    """
    path = folder / shard.name
    key = json.loads(json.dumps(dict(about)))
    if path.is_file():
        try:
            tensors, meta = load_arrays(path)
            if meta.get("about") == key and len(tensors.get("images", ())) == shard.n:
                return False
        except UserError:
            pass  # truncated by the end of the last attempt: made again below
    images, labels = make(shard.first, shard.last)
    if images.dtype != torch.uint8 or len(images) != shard.n:
        raise ValueError(f"{path}: made {len(images)} {images.dtype} images, wanted {shard.n} uint8")
    tensors = {"images": images} | ({} if labels is None else {"labels": labels})
    save_arrays(path, tensors, {"kind": "shard", "about": key, "seeds": [shard.first, shard.last]})
    return True


def write_manifest(path: str | Path, shards: Sequence[Shard], about: Mapping[str, Any]) -> None:
    """List the shards with their counts and hashes, and remove unlisted files from their folders."""
    folder = folder_of(path)
    listed = [
        {"file": s.name, "train_seed": s.train_seed, "block": s.block, "first": s.first, "last": s.last, "n": s.n,
         "sha256": sha256(folder / s.name)}
        for s in shards
    ]  # fmt: skip
    names = {entry["file"] for entry in listed}
    for found in sorted(folder.rglob("*")):
        if found.is_file() and str(found.relative_to(folder)) not in names:
            found.unlink()
    with atomic_write(path) as temporary:
        content = {**about, "kind": "samples", "shards": listed}
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_manifest(path: str | Path) -> dict[str, Any]:
    """A manifest as written.

    Raises:
        UserError: missing, not JSON, or not a manifest of samples.
    """
    source = Path(path)
    try:
        if source.stat().st_size > MANIFEST_BYTES:
            raise UserError(f"{source}: is larger than {MANIFEST_BYTES} bytes. Delete it and run again.")
        content = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{source}: no such file; wanted a manifest of samples. Build it with snakemake {source}"
        ) from error
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{source}: is not JSON ({error}). Delete it and run again.") from error
    if (
        not isinstance(content, dict)
        or content.get("kind") != "samples"
        or not isinstance(content.get("shards"), list)
        or not all(_is_listed(shard) for shard in content["shards"])
    ):
        raise UserError(f"{source}: is no manifest of samples. Delete it and run again.")
    return content


def _is_listed(shard: Any) -> bool:
    """Whether an entry of a manifest has what every reader takes from it, and a file inside the folder of shards."""
    if not isinstance(shard, dict):
        return False
    numbers = all(type(shard.get(key)) is int for key in ("train_seed", "first", "last", "n"))
    texts = all(isinstance(shard.get(key), str) for key in ("file", "block", "sha256"))
    if not numbers or not texts:
        return False
    file = PurePosixPath(shard["file"])
    return not file.is_absolute() and ".." not in file.parts and shard["n"] >= 0


def read_block(path: str | Path, train_seed: int, block: str) -> tuple[Tensor, Tensor | None]:
    """The images `[n, C, H, W]` uint8 of one training seed and block, and their labels `[n]` int64 where there are any.

    Raises:
        UserError: the block is not in the manifest, or a shard is absent, cut, or not the one the manifest lists.
    """
    content, folder = load_manifest(path), folder_of(path)
    listed = [s for s in content["shards"] if s["train_seed"] == train_seed and s["block"] == block]
    if not listed:
        known = sorted({(s["train_seed"], s["block"]) for s in content["shards"]})
        raise UserError(f"{path}: holds no block {block!r} of training seed {train_seed}; it has {known}")
    parts = [_read(folder / entry["file"], entry, path) for entry in listed]
    labels = [part["labels"] for part in parts if "labels" in part]
    return torch.cat([part["images"] for part in parts]), torch.cat(labels) if labels else None


def _read(shard: Path, entry: Mapping[str, Any], manifest: str | Path) -> dict[str, Tensor]:
    if not shard.is_file() or sha256(shard) != entry["sha256"]:
        state = "is not the file its manifest lists" if shard.is_file() else "is missing"
        raise UserError(
            f"{shard}: {state} ({manifest} wants sha256 {entry['sha256'][:12]}...). Delete this shard and {manifest} and run "
            "again: the other shards stay."
        )
    tensors, _ = load_arrays(shard)
    wanted(tensors, "images", shard, (entry["n"], None, None, None))
    return tensors
