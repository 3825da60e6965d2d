"""The list of what others have released and the papers' experiments read: workflow/resources/checkpoints.csv."""

import csv
from dataclasses import dataclass
from pathlib import Path

from guidelab.errors import UserError

CHECKPOINTS = "workflow/resources/checkpoints.csv"


@dataclass(frozen=True)
class Row:
    """One released file: what it is, where it is published, and what it must hold."""

    name: str
    kind: str
    format: str
    file: str
    url: str
    bytes: str
    sha256: str
    licence: str
    dataset: str
    resolution_px: str
    image_channels: str
    classes: str
    note: str


def load_rows(path: str | Path = CHECKPOINTS) -> dict[str, Row]:
    """The rows by name.

    Raises:
        UserError: no such file, or it has other columns.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return {row["name"]: Row(**row) for row in csv.DictReader(file)}
    except (OSError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as the list of released files ({error})") from error
