"""Read nets from files (guidelab's or pretrained ones) in the form that sampling jobs use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from guidelab.checkpoints.released import read_denoiser, read_released
from guidelab.errors import UserError
from guidelab.io import load_arrays, sha256
from guidelab.jobs.convert import write_net

OURS = "guidelab"  # the format of files that our own trainings write
DENOISERS = ("edm2", "edm", "adm", "dit")


@dataclass(frozen=True)
class Net:
    """A net of a file.

    Attributes:
        path: the file. format: as in checkpoints.csv, or `guidelab`. sha256: of the file.
        config: `name` and constructor arguments.
        seeds: training seeds it holds; none of a pretrained net, which is used for every seed.
        tensors: of a pretrained net, in this package's names; empty for a file of guidelab's, which is read in place.
    """

    path: Path
    format: str
    sha256: str
    config: dict[str, Any]
    seeds: tuple[int, ...]
    tensors: dict[str, Tensor]

    @property
    def classes(self) -> int:
        """The number of its classes; 0 if unconditional."""
        return int(self.config.get("classes") or 0)

    @property
    def event(self) -> tuple[int, int]:
        """Channels and side of what it works on."""
        return int(self.config["image_channels"]), int(self.config["resolution_px"])

    def stored(self, folder: Path, name: str, seed: int) -> str:
        """The file a sampling job reads: this one, or a converted copy in the folder."""
        if self.format == OURS:
            return str(self.path)
        target = folder / f"{name}.safetensors"
        if not (target.is_file() and load_arrays(target)[1].get("of") == [self.sha256, seed]):
            about = {"of": [self.sha256, seed], "released": {"name": self.path.name, "sha256": self.sha256}}
            write_net(target, self.config, self.tensors, [seed], about)
        return str(target)


def read_net(path: Path) -> Net:
    """A denoiser of images, from a file of guidelab's or a pretrained one; nothing in the file is executed.

    Raises:
        UserError: absent, broken, hostile, or no denoiser of images.
    """
    if path.suffix == ".safetensors" and path.is_file():
        found = _ours(path)
    else:
        format, config, tensors = read_denoiser(path)
        found = Net(path, format, sha256(path), config, (), tensors)
    if found.config.get("name") not in DENOISERS:
        raise UserError(
            f"{path}: holds a net {found.config.get('name')!r}, wanted a denoiser of images: {', '.join(DENOISERS)}"
        )
    return found


def read_discriminator(path: Path, extractor: Path | None) -> Net:
    """A discriminator: a file of guidelab's, or a pretrained head with the classifier whose features it uses.

    Raises:
        UserError: absent, broken, hostile, or no discriminator.
    """
    if path.suffix == ".safetensors" and path.is_file():
        found = _ours(path)
    else:
        config, tensors = read_released(path, "dg_pt", {"extractor": extractor} if extractor else {})
        found = Net(path, "dg_pt", sha256(path), config, (), tensors)
    if not str(found.config.get("name")).endswith("discriminator"):
        raise UserError(f"{path}: holds a net {found.config.get('name')!r}, wanted a discriminator of images")
    return found


def _ours(path: Path) -> Net:
    _, about = load_arrays(path)
    config, seeds = about.get("net"), about.get("seeds")
    if not isinstance(config, dict) or not isinstance(seeds, list) or "image_channels" not in config:
        raise UserError(f"{path}: holds {about.get('kind', 'something else')!r}, wanted a net of images")
    return Net(path, OURS, sha256(path), config, tuple(seeds), {})


def common_seed(nets: Sequence[Net], given: int | None) -> int:
    """The training seed that all nets have: the given one, else the first.

    Raises:
        UserError: there is none, or not the given one.
    """
    held = [set(net.seeds) for net in nets if net.seeds]
    shared = sorted(set.intersection(*held)) if held else [given or 0]
    if given is not None and given not in shared:
        raise UserError(f"--train-seed: given {given}, wanted one of {shared}, which all nets have")
    if not shared:
        said = "; ".join(f"{net.path} has {list(net.seeds)}" for net in nets if net.seeds)
        raise UserError(f"the nets share no training seed: {said}")
    return shared[0] if given is None else given


def check_together(main: Net, others: Sequence[Net]) -> None:
    """Refuse nets that cannot guide one another.

    Raises:
        UserError: another side, other channels or classes.
    """
    for other in others:
        for what, held, wanted in (
            ("channels and side", other.event, main.event),
            ("classes", other.classes, main.classes),
        ):
            if held != wanted and not (what == "classes" and other.classes == 0):
                raise UserError(
                    f"{other.path}: works on {what} {held}, but {main.path} on {wanted}; wanted the same"
                )
