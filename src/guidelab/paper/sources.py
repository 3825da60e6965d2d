"""The lines of `X.sources.csv`: the rows behind each cell of a table; `sources_columns` has its columns."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from guidelab.paper.sources_columns import BETWEEN, EITHER, LEADING


class Source(NamedTuple):
    """Some rows behind a number: what is formed of them, their part in it, and the values of their key columns."""

    how: str
    part: str
    keys: dict[str, str]


def points(
    how: str, part: str, metric: str, at: tuple[str, float], keys: Iterable[tuple[int, str]]
) -> list[Source]:
    """Measured rows of a metric at a point: in one line when all trainings have the same blocks, else one for each.

    Args:
        how: what is formed. part: their part in it. metric, at: of the rows. keys: training seeds and seed blocks.
    """
    about = {"variant": at[0], "w": f"{at[1]:g}", "metric": metric}
    of_seed: dict[int, list[str]] = {}
    for seed, block in sorted(keys):
        of_seed.setdefault(seed, []).append(block)
    alike: dict[tuple[str, ...], list[str]] = {}
    for seed, blocks in of_seed.items():
        alike.setdefault(tuple(blocks), []).append(str(seed))
    return [
        Source(how, part, about | {"train_seed": EITHER.join(seeds), "seed_block": EITHER.join(blocks)})
        for blocks, seeds in alike.items()
    ]


def line(row: int, columns: Iterable[str], source: Source) -> dict[str, Any]:
    """One line of the file."""
    return {
        "row": row,
        "columns": BETWEEN.join(columns),
        "how": source.how,
        "part": source.part,
        **source.keys,
    }


def file(found: list[dict[str, Any]], keys: Sequence[str]) -> pd.DataFrame:
    """The lines as a table, also when there are none."""
    return pd.DataFrame(found, columns=[*LEADING, *keys])
