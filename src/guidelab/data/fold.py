"""One split of a streamed dataset: names and labels in memory, pixels decoded one image at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from guidelab.data.image_decode import Pixels
from guidelab.errors import UserError

_NAMED = 5  # files an error names; further ones are counted


@dataclass(frozen=True)
class Fold:
    """Pictures not yet read.

    Attributes:
        where: the source, for errors.
        labels: a class index each, or None.
        pixels: threads -> every picture `[3, R, R]` uint8, in order, for any number of threads. A UserError names the
            files that cannot be used after all were tried; the images yielded until then must be discarded.
    """

    where: str
    labels: list[int] | None
    pixels: Callable[[int], Iterator[Pixels]]
    count: int

    def __len__(self) -> int:
        return self.count


def refuse_broken(where: str, wrong: list[tuple[str, str]], total: int, mend: str) -> None:
    """Raise a UserError that names the first unusable files and counts them; nothing when there are none."""
    if not wrong:
        return
    named = "; ".join(f"{name} {why}" for name, why in wrong[:_NAMED])
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    raise UserError(f"{where}: {len(wrong)} of {total} images cannot be used: {named}{more}. {mend}")
