"""`guidelab sample`, `generate`, `grading`: draw every seed block of one point, for every training seed, on any device."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from guidelab.assemble import dataset, load_nets
from guidelab.compute.device import device
from guidelab.compute.precision import settle
from guidelab.registry import CODECS
from guidelab.sampling.draw import Drawing, drawing

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Codec


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Draw all blocks that are not stored yet; the codec named by the job decides how they are stored.

    Raises:
        UserError: nets that do not fit the sampler, too little memory, or another process failed.
    """
    where = device()
    settle(where)
    codec: Codec = CODECS.load(job["codec"])(job, where)
    start = dataset(job["dataset"]).start if "dataset" in job else None
    held: dict[int, Drawing] = {}

    def draw(
        train_seed: int, first: int, last: int, done: Callable[[int], Any]
    ) -> tuple[Tensor, Tensor | None]:
        if train_seed not in held:
            held.clear()  # the nets of one training leave the device before the next ones are loaded
            nets = load_nets(job["inputs"], train_seed, job.get("discs"))
            held[train_seed] = drawing(job, nets, where, codec, start)
        return held[train_seed](first, last, done=done)

    codec.save(job, outputs[0], draw)
