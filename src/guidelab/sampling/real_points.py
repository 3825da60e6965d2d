"""Use real points of a split as samples, so that a table shows the metrics of perfect samples."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from guidelab.errors import UserError
from guidelab.io import load_arrays, wanted
from guidelab.sampling.codecs import Points

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Draw


class RealPoints(Points):
    """Blocks of the fold `points` of a job, one after the other and in its order: its points are independent draws."""

    def save(self, job: Mapping[str, Any], output: Path, draw: "Draw") -> None:
        """See `interfaces.Codec`; nothing is drawn.

        Raises:
            UserError: the fold has fewer points than all blocks together.
        """
        (path,) = job["inputs"]["points"]
        fold = wanted(load_arrays(path)[0], "x", path, (None, 2))
        begin, offsets = 0, {}
        for first, last in job["blocks"].values():
            offsets[first] = begin
            begin += last - first + 1
        if begin > len(fold):
            raise UserError(
                f"{job['variant']}: its blocks want {begin} points, but {path} holds {len(fold)}. Give the fold more (`n` of "
                "its entry under folds), or shorten the blocks under evaluate.blocks."
            )

        def taken(
            train_seed: int, first: int, last: int, done: Callable[[int], Any]
        ) -> tuple[Tensor, Tensor | None]:
            done(last - first + 1)
            return fold[offsets[first] : offsets[first] + last - first + 1], None

        super().save(job, output, taken)
