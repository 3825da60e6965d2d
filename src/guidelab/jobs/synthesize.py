"""`guidelab synthesize`: write the synthetic images and checkpoints that a smoke experiment uses."""

import json
import zlib
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.io import atomic_write, sha256
from guidelab.released import Row
from guidelab.synthetic.checkpoints import write_synthetic
from guidelab.synthetic.images import write_cifar_like, write_imagenet_like

_HELD_OUT = 12  # one training image in so many is held out: enough of them for a discriminator's real side


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the files, then the list with a hash of each."""
    (listing,) = outputs
    folder = listing.parent
    _pictures(job, folder / "images")
    for entry in job["checkpoints"]:
        shape = {key: value for key, value in entry.items() if key != "row"}
        seed = job["seed"] + zlib.crc32(
            entry["row"]["name"].encode()
        )  # its own, wherever it stands in the list
        write_synthetic(Row(**entry["row"]), folder / "checkpoints", seed=seed, **shape)
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path != listing)
    content = {str(path.relative_to(folder)): sha256(path) for path in found}
    with atomic_write(listing) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _pictures(job: dict[str, Any], folder: Path) -> None:
    """A tree in the dataset's layout, every fold of it at least as large as a block of samples."""
    name, classes, n, seed = job["dataset"]["name"], job["dataset"]["classes"], job["pictures"], job["seed"]
    if name == "imagenet":
        write_imagenet_like(folder, classes, -(-_HELD_OUT * n // classes), -(-n // classes), seed)
    elif name == "cifar10":
        write_cifar_like(
            folder, classes, train_per_batch=n, test=4 * n, seed=seed
        )  # two folds share the test images
    else:
        raise UserError(
            f"synthesize: given dataset {name!r}, wanted imagenet or cifar10: others ship in packages"
        )
