"""Which class each validation image of ImageNet has, where the images lie in one folder as they are distributed."""

import csv
import re
from pathlib import Path

from guidelab.errors import UserError

MAPPINGS = ("val_labels.txt", "LOC_val_solution.csv")
_MAX_BYTES = 1 << 26
_WNID = re.compile(r"n\d{8}")


def mapped(path: Path) -> dict[str, str]:
    """Image name without suffix -> class.

    Args:
        path: `val_labels.txt`, lines of an image and its class; or Kaggle's `LOC_val_solution.csv`, whose second
            column begins with the class.
    Raises:
        UserError: too large, no text, or a line without a class such as n01751748.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path}: is larger than {_MAX_BYTES} bytes, wanted 50,000 lines `image class`")
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Copy it again.") from error
    rows = csv.reader(lines[1:]) if path.suffix == ".csv" else (line.split() for line in lines)
    for number, row in enumerate(rows, 2 if path.suffix == ".csv" else 1):
        if not row:
            continue
        wnid = row[1].split(" ")[0] if len(row) > 1 else ""
        if not _WNID.fullmatch(wnid):
            raise UserError(
                f"{path}, line {number}: given {' '.join(row)[:60]!r}, wanted an image and its class, such as "
                "ILSVRC2012_val_00000001.JPEG n01751748 (the development kit's numbers are in another order)"
            )
        found[row[0].rsplit(".", 1)[0] if row[0].lower().endswith((".jpeg", ".jpg", ".png")) else row[0]] = (
            wnid
        )
    return found
