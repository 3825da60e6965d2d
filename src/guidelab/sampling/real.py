"""Use real images as samples, so that a table shows the metrics of perfect samples."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guidelab.data.zip_reader import ZipImages
from guidelab.errors import UserError
from guidelab.io.shards import Shard


def shown(job: Mapping[str, Any]) -> Callable[[Shard], tuple[Tensor, Tensor | None]]:
    """From a shard to images `[n, C, R, R]` uint8 of a fold and their labels `[n]` int64, if it has any.

    The fold is shuffled once; blocks take their images from it one after the other, and begin anew at its end. So a block
    never holds an image twice, and two blocks share images only where the fold has too few for both.

    Raises:
        UserError: the fold has fewer images than a block has seeds.
    """
    (path,) = job["inputs"]["images"]
    fold = ZipImages(path)
    sizes = {name: last - first + 1 for name, (first, last) in job["blocks"].items()}
    for name, size in sizes.items():
        if size > len(fold):
            raise UserError(
                f"{job['variant']}: block {name!r} wants {size} images, but {path} holds {len(fold)}. Give the fold more "
                "(`n` of its entry under folds), or shorten the block under evaluate.blocks."
            )
    order = torch.randperm(len(fold), generator=torch.Generator().manual_seed(0))
    names = list(sizes)
    offsets = {name: sum(sizes[before] for before in names[:place]) for place, name in enumerate(names)}

    def images(shard: Shard) -> tuple[Tensor, Tensor | None]:
        begin = offsets[shard.block] + shard.first - job["blocks"][shard.block][0]
        rows = order[torch.arange(begin, begin + shard.n) % len(fold)]
        return fold[rows], None if fold.labels is None else fold.labels[rows]

    return images
