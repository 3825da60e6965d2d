"""Check that a copy of ImageNet is complete, by its numbers of files: nothing else shows missing ones."""

from pathlib import Path

from guidelab.data.imagenet import CLASSES, _tree
from guidelab.data.notice import some
from guidelab.errors import UserError, home_path

# ILSVRC 2012: Russakovsky et al. 2015, arXiv:1409.0575, table 2; a training class has 732 to 1300 images
TOTAL = {"train": 1_281_167, "val": 50_000}
FEWEST, MOST = {"train": 732, "val": 50}, {"train": 1300, "val": 50}


def check_complete(source: str | Path, split: str, classes: int = CLASSES) -> None:
    """Refuse a tree of all 1000 classes that has not all images.

    `train` and `holdout` are parts of one tree, which is counted as a whole. The files are listed, not read.

    Args:
        source: folder of the tree, in which every class was found.
        split: `train`, `holdout` or `test`.
        classes: how many classes the experiment has; trees with fewer classes are not counted.
    Raises:
        UserError: says how many were found and wanted, the classes with too few or too many, and what to do.
    """
    if classes != CLASSES:
        return
    part = "val" if split == "test" else "train"
    root = home_path(source)
    counts = {wnid: len(files) for wnid, files in _tree(root, part).items()}
    found = sum(counts.values())
    short = {wnid: count for wnid, count in counts.items() if count < FEWEST[part]}
    odd = short or {wnid: count for wnid, count in counts.items() if count > MOST[part]}
    if found == TOTAL[part] and not odd:
        return
    # short by no class alone: those with fewest come first, where a copy that broke off may have stopped
    shown = odd or dict(sorted(counts.items(), key=lambda item: item[1])[:5])
    held = some([f"{wnid} with {count}" for wnid, count in shown.items()])
    what = (
        "classes with fewer than any has: "
        if short
        else "classes with more than any has: "
        if odd
        else "smallest classes: "
    )
    raise UserError(
        f"{root / part}: holds {found} images of {len(counts)} classes, wanted {TOTAL[part]}; {what}{held}. Copy the "
        "missing files (or remove those that are not ImageNet's); or, if a part of ImageNet is meant, say so: "
        "`subset: true` in the dataset, or `n` of the fold."
    )
