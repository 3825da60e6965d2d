"""The storage format of points: float32 in one file. (Images: module `pixels`; latents: module `latents`.)"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.assemble import nets_sha256
from guidelab.compute.processes import process_group
from guidelab.io import save_arrays

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Draw


class Points:
    """Points `[B, *event]`, as they are, in float32: `seed<S>/<block>/x [n, *event]` of one file."""

    finite = False  # their metrics count those that are not

    def __init__(self, job: Mapping[str, Any] | None = None, where: torch.device | None = None) -> None:
        self.where = where or torch.device("cpu")

    def decode(self, x: Tensor) -> Tensor:
        """See `interfaces.Codec`."""
        return x.to(torch.float32)

    def save(self, job: Mapping[str, Any], output: Path, draw: "Draw") -> None:
        """Every block, and every grader's; of several processes the first draws them all, as a file has one writer."""
        if not process_group().leader:
            return
        todo = [(seed, name, block) for seed in job["train_seeds"] for name, block in job["blocks"].items()]
        graders = job.get("grader_blocks", {})
        todo += [(seed, name, g["seeds"]) for name, g in graders.items() for seed in g["train_seeds"]]
        total = sum(last - first + 1 for _, _, (first, last) in todo)
        with closing(progress_bar(job["variant"], total)) as bar:
            tensors = {
                f"seed{seed}/{name}/x": draw(seed, first, last, bar.update)[0]
                for seed, name, (first, last) in todo
            }
        about = {key: job[key] for key in ("variant", "terms", "sampler", "code")}
        about |= {"kind": "samples", "seeds": job["train_seeds"], "nets_sha256": nets_sha256(job["inputs"])}
        about |= {"blocks": job["blocks"] | {name: g["seeds"] for name, g in graders.items()}}
        about |= {} if self.where.type == "cpu" else {"device": self.where.type}
        save_arrays(output, tensors, about)


def progress_bar(what: str, total: int, *, shown: bool = True) -> "tqdm[Any]":
    """A progress bar on standard error, in samples, that stays short in log files."""
    return tqdm(total=total, desc=what, unit="sample", mininterval=1.0, dynamic_ncols=True, disable=not shown)
