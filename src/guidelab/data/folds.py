"""Assign images to splits by a hash of their content, and draw random subsets of a split.

An image's split depends on its bytes alone: identical images never fall on two sides, adding images moves none,
and no list of indices has to be kept.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch

from guidelab.data.image_decode import refuse
from guidelab.data.notice import notice
from guidelab.errors import UserError, brief, closest

TWELFTHS = 12
SPLITS = ("train", "holdout", "test")
OWN_SPLITS = (*SPLITS, "all")  # of a user's own images
BY_CONTENT: Mapping[str, range] = {"train": range(10), "holdout": range(10, 11), "test": range(11, 12)}


def twelfth(content: bytes) -> int:
    """Which of twelve equally likely buckets, 0 to 11, some content falls in: its sha256's first 8 bytes modulo 12."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % TWELFTHS


def check_split(split: str, where: str, known: tuple[str, ...] = SPLITS) -> None:
    """Raise a UserError unless `split` is one of those known."""
    if split not in known:
        raise UserError(
            f"{where}: split {split!r} is not known; wanted one of {', '.join(known)}{closest(split, known)}"
        )


def subset(count: int, n: int | None, seed: int, where: str) -> list[int]:
    """Indices of a random subset of `count` things, ascending; all of them when n is None.

    The subset of a smaller n with the same seed lies inside that of a larger one.

    Args:
        count: how many there are.
        n: how many are wanted.
        seed: of the generator that chooses.
        where: the beginning of the error.
    Raises:
        UserError: n is below 1 or above `count`.
    """
    if n is None:
        return list(range(count))
    if not 1 <= n <= count:
        raise UserError(
            f"{where}: given n = {n}, wanted 1 to {count}, the number of images in this split. "
            "Take a smaller n, or null for all of them."
        )
    chosen: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:n].tolist()
    return sorted(chosen)


def choose(
    where: str, names: Sequence[str], content: Callable[[str], bytes], split: str, n: int | None, seed: int
) -> list[int]:
    """Places, among all names, of the files of a split by content, or of a random n of them; ascending.

    Args:
        where: the dataset, for errors.
        names: all its files.
        content: a file's bytes by its name.
        split: one of `OWN_SPLITS`.
        n, seed: see `subset`.
    Raises:
        UserError: files cannot be read, the split is empty, or n is larger than it.
    """
    if split == "all":
        return subset(len(names), n, seed, where)
    inside, wrong = [], []
    for place, name in enumerate(names):
        try:
            if twelfth(content(name)) in BY_CONTENT[split]:
                inside.append(place)
        except Exception as error:  # archives and file systems may raise any exception type
            wrong.append((name, f"cannot be read ({brief(error)})"))
    refuse(where, wrong, len(names))
    if not inside:
        raise UserError(
            f"{where}: none of its {len(names)} images falls in the split {split!r} (train, holdout and test take "
            "10, 1 and 1 of twelve parts, by each file's hash). Give more images, or another split."
        )
    if len(inside) < len(names):
        parts = len(BY_CONTENT[split])
        notice(
            f"{where}: the split {split} has {len(inside)} of {len(names)} images ({parts} of {TWELFTHS} parts, by a hash of "
            f"each file); the other {len(names) - len(inside)} belong to the other splits (split all: every image)"
        )
    return [inside[index] for index in subset(len(inside), n, seed, f"{where}, split {split}")]
