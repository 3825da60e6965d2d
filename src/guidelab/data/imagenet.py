"""ImageNet (ILSVRC 2012) from the official tree: `train/<class>/*.JPEG` and `val/<class>/*.JPEG`.

A class is a WordNet number such as n01440764; its index is its place in their alphabetical order, as in every
released network. Nothing is fetched: the images may not be passed on, so every group has its own copy.
"""

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from guidelab.data.archive import is_leftover
from guidelab.data.crop_files import cropped
from guidelab.data.fold import Fold
from guidelab.data.folds import check_split, subset, twelfth
from guidelab.data.notice import some
from guidelab.data.val_labels import MAPPINGS, mapped
from guidelab.errors import UserError, home_path

VARIABLE = "GUIDELAB_IMAGENET"
CLASSES = 1000
SYNSETS = "LOC_synset_mapping.txt"
KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")  # where Kaggle's download keeps the tree, its lists at the top
SUFFIXES = (".jpeg", ".jpg", ".png")
_HELD_OUT = 10  # the one of twelve parts of the training tree that is `holdout`
_TREE = "train/<class>/*.JPEG and val/<class>/*.JPEG"
Tree = Mapping[str, list[str]]  # class -> its files, relative to the root, sorted


def prepare(
    split: str,
    resolution_px: int,
    source: str | Path | None = None,
    *,
    classes: int = CLASSES,
    n: int | None = None,
    seed: int = 0,
) -> Fold:
    """One split of the tree, its pictures cropped as ADM does, in the order of classes and then of file names.

    `test` is the validation tree. `holdout` is every twelfth training image by a hash of `<class>/<file name>`, and
    `train` the others: the content of 1.3 million files need not be read to know who belongs where, and a file stays
    in its split when files are added. The papers train on all of `train/`; here the twelfth is left out, so that
    discriminators are evaluated on images no net was trained on.

    Args:
        split: `train`, `holdout` or `test`.
        resolution_px: height and width wanted; smaller pictures are enlarged.
        source: folder of the tree.
        classes: how many classes there must be.
        n: how many images of the split, chosen at random; all when None.
        seed: of that choice.
    Raises:
        UserError: no source, no such tree, missing, empty or unexpected classes, files that are no pictures, an
            unknown or empty split, too large an n.
    """
    check_split(split, "dataset imagenet")
    if resolution_px < 1:
        raise UserError(f"dataset imagenet: given resolution_px {resolution_px}, wanted at least 1")
    root = _root(source)
    part = "val" if split == "test" else "train"
    tree = _tree(root, part)
    _check_classes(root, part, tree, classes)
    names, labels = [], []
    for label, files in enumerate(tree[wnid] for wnid in sorted(tree)):
        kept = [name for name in files if split == "test" or _held_out(name) == (split == "holdout")]
        names += kept
        labels += [label] * len(kept)
    where = f"{root}, split {split}"
    if not names:
        raise UserError(
            f"{where}: none of its images falls in this split. Give more images, or another split."
        )
    chosen = subset(len(names), n, seed, where)
    names = [names[index] for index in chosen]
    images = partial(cropped, str(root), str(root), names, resolution_px)
    return Fold(str(root), [labels[index] for index in chosen], images, len(names))


def _root(source: str | Path | None) -> Path:
    if source is None or str(source) == "":
        raise UserError(
            f"dataset imagenet: no source given; wanted the folder of ILSVRC 2012 that holds {_TREE}. Give `source:` in the "
            f"dataset, or set {VARIABLE}."
        )
    root = home_path(source)
    root = root / KAGGLE if (root / KAGGLE).is_dir() else root  # its download, unpacked
    if not root.is_dir():
        raise UserError(f"{root}: is no folder; wanted the folder of ILSVRC 2012 that holds {_TREE}")
    return root


def _list_folders(root: Path) -> list[Path]:
    """Folders that may hold lists of classes: the tree's own, and the top of Kaggle's download."""
    below = len(KAGGLE.parts)
    top = root.absolute()
    return [root, top.parents[below - 1]] if top.parts[-below:] == KAGGLE.parts else [root]


def _held_out(name: str) -> bool:
    return twelfth(name.removeprefix("train/").encode()) == _HELD_OUT


def _tree(root: Path, part: str) -> dict[str, list[str]]:
    """Classes and their files; class folders that are empty too."""
    top = root / part
    if not top.is_dir():
        held = some(sorted(entry.name for entry in os.scandir(root))) or "nothing"
        raise UserError(f"{root}: holds no folder {part}/ (it holds {held}); wanted {_TREE}")
    folders = sorted(
        entry.name for entry in os.scandir(top) if entry.is_dir() and not is_leftover(entry.name)
    )
    if part == "val" and not folders:
        return _flat(root, top)
    tree = {}
    for wnid in folders:
        found = sorted(entry.name for entry in os.scandir(top / wnid) if not is_leftover(entry.name))
        _refuse_others(top / wnid, found)
        tree[wnid] = [f"{part}/{wnid}/{name}" for name in found]
    return tree


def _flat(root: Path, top: Path) -> dict[str, list[str]]:
    """The validation images as they are distributed: one folder, and a file that says which class each one has."""
    files = sorted(entry.name for entry in os.scandir(top) if entry.is_file() and not is_leftover(entry.name))
    files = [name for name in files if name not in MAPPINGS]
    _refuse_others(top, files)
    place = next(
        (p for folder in (*_list_folders(root), top) for name in MAPPINGS if (p := folder / name).is_file()),
        None,
    )
    if place is None:
        raise UserError(
            f"{top}: holds {len(files)} images and no class folders; wanted val/<class>/*.JPEG, or next to them "
            f"{' or '.join(MAPPINGS)}, which says the class of each (lines `ILSVRC2012_val_00000001.JPEG n01751748`)"
        )
    wnids = mapped(place)
    without = [name for name in files if name.rsplit(".", 1)[0] not in wnids]
    if without:
        raise UserError(f"{place}: gives no class for {some(without)} in {top}. Complete it.")
    tree: dict[str, list[str]] = {}
    for name in files:
        tree.setdefault(wnids[name.rsplit(".", 1)[0]], []).append(f"val/{name}")
    return tree


def _refuse_others(folder: Path, names: list[str]) -> None:
    others = [name for name in names if not name.lower().endswith(SUFFIXES)]
    if others:
        raise UserError(
            f"{folder}: holds {some(others)}, which are no pictures ({', '.join(SUFFIXES)}). Unpack what is packed; move the "
            "rest elsewhere."
        )


def _check_classes(root: Path, part: str, tree: Tree, classes: int) -> None:
    """Refuse a tree that lacks classes or has others: every later class would have a wrong index."""
    here = {wnid for wnid, files in tree.items() if files}
    empty = sorted(set(tree) - here)
    other = root / ("train" if part == "val" else "val")
    known = _listed(root)
    if not known and other.is_dir():
        known = {entry.name for entry in os.scandir(other) if entry.is_dir() and not is_leftover(entry.name)}
    faults = [f"{len(empty)} without images: {some(empty)}"] if empty else []
    missing = sorted(known - set(tree))
    extra = sorted(set(tree) - known) if len(known) >= classes else []
    faults += (
        [f"{len(missing)} missing: {some(missing)}"] if missing and (extra or len(here) != classes) else []
    )
    faults += [f"{len(extra)} unexpected: {some(extra)}"] if extra else []
    if len(here) == classes and not faults:
        return
    raise UserError(
        f"{root / part}: holds {len(here)} classes with images, wanted {classes}"
        f"{''.join(f'; {fault}' for fault in faults)}. Copy the missing class folders, move the others elsewhere, or correct "
        "`classes:` of the dataset."
    )


def _listed(root: Path) -> set[str]:
    """The classes of Kaggle's list, where it is next to the tree."""
    place = next((p for folder in _list_folders(root) if (p := folder / SYNSETS).is_file()), None)
    if place is None or place.stat().st_size > 1 << 20:
        return set()
    return set(re.findall(r"(?m)^n\d{8}", place.read_text(encoding="utf-8", errors="replace")))
