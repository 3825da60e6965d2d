"""`guidelab prepare` for image datasets: one fold as a ZIP in the EDM2 dataset format."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.data.large.latents import holds_latents, prepare_latents
from guidelab.errors import UserError, home_path
from guidelab.io import atomic_write
from guidelab.registry import load


class Prepared(NamedTuple):
    """What was written: images or latents, how many, the shape of each, and labels `[N]` or None."""

    what: str
    n: int
    shape: tuple[int, ...]
    labels: Tensor | None


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Prepare the fold of a job and save it; the file's bytes depend on the job alone."""
    wanted = job["dataset"]
    prepare_dataset(
        wanted["name"],
        job["split"],
        wanted["resolution_px"],
        wanted.get("source"),
        job.get("n"),
        job.get("seed", 0),
        outputs[0],
    )


def prepare_dataset(
    name: str,
    split: str,
    resolution_px: int,
    source: str | Path | None,
    n: int | None,
    seed: int,
    output: str | Path,
) -> Prepared:
    """Prepare one fold of a registered image dataset and save it; of a ZIP of latents, the latents.

    Args:
        name: as registered; `-` may stand for `_`.
        split: `train`, `holdout` or `test`; of a user's own images also `all`.
        resolution_px: height and width wanted.
        source: a folder or ZIP of the user's; None where the dataset can be found or fetched.
        n: how many images of the split; all when None.
        seed: of the choice of n.
        output: the ZIP to write.
    Returns:
        What was written.
    Raises:
        UserError: not an image dataset, or what its `prepare` says.
    """
    known = name.replace("-", "_")
    prepare = load("dataset", known)
    if getattr(prepare, "__name__", "") != "prepare":
        raise UserError(f"guidelab prepare: {name} is no dataset of images, so it has no splits to prepare")
    if known == "image_zip" and source is not None and holds_latents(source):
        with atomic_write(output) as temporary:
            latents = prepare_latents(source, split, resolution_px, temporary, n, seed)
            return Prepared("latents", len(latents), latents.shape, latents.labels)
    image_set: ImageSet = prepare(split, resolution_px, source, cache_folder(), n=n, seed=seed)
    with atomic_write(output) as temporary:
        write_zip(temporary, image_set)
    return Prepared("images", len(image_set), tuple(image_set.images.shape[1:]), image_set.labels)


def cache_folder() -> Path:
    """Where downloads are kept: `GUIDELAB_CACHE`, by default `~/.cache/guidelab`; without a home folder, `.cache` here."""
    given = os.environ.get("GUIDELAB_CACHE")
    return home_path(given) if given else home_path("~/.cache/guidelab", Path(".cache", "guidelab"))
