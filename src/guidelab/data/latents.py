"""A user's latents as a dataset: a ZIP written by EDM2's `dataset_tool.py encode` or by guidelab."""

import zipfile
from pathlib import Path

from guidelab.data.folds import OWN_SPLITS, check_split, choose
from guidelab.data.members import StoredMembers
from guidelab.data.npy import npy_header
from guidelab.data.zip_reader import ZipLatents
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError


def holds_latents(path: str | Path) -> bool:
    """Whether the first array of a ZIP is of floats; False for anything that is no such ZIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            first = min(name for name in archive.namelist() if name.lower().endswith(".npy"))
            with archive.open(first) as file:
                return npy_header(file)[2].kind == "f"
    except Exception:  # no ZIP, no arrays, damaged: its reader names the cause
        return False


def prepare_latents(
    source: str | Path, split: str, resolution_px: int, output: Path, n: int | None = None, seed: int = 0
) -> ZipLatents:
    """Write one split of latents as they are: means and standard deviations, labels, and their encoding's name.

    Args:
        source: the ZIP; float32 or float16 arrays `[2C, h, w]`.
        split: `train`, `holdout` or `test`, by a hash of each file's bytes; or `all`.
        resolution_px: side of the latents, h and w; they cannot be resized.
        output: a temporary path of the ZIP to write.
        n: how many of the split, chosen at random; all when None.
        seed: of that choice.
    Returns:
        The latents written.
    Raises:
        UserError: see `ZipLatents` and `choose`; or latents of another side.
    """
    check_split(split, "dataset image_zip", OWN_SPLITS)
    latents = ZipLatents(source)
    if latents.shape[1:] != (resolution_px, resolution_px):
        raise UserError(
            f"{source}: holds latents of {latents.shape[2]} x {latents.shape[1]}, given resolution_px {resolution_px}; "
            f"wanted {latents.shape[1]}: latents are not resized"
        )
    members = StoredMembers(source)
    names = [str(index) for index in range(len(members))]
    chosen = choose(str(source), names, lambda name: members.member(int(name))[1], split, n, seed)
    with ZipWriter(output, {"encoding": latents.encoding.name}) as writer:
        for index in chosen:
            label = None if latents.labels is None else int(latents.labels[index])
            writer.add_latent(latents[index].numpy(), label)
    return ZipLatents(output)
