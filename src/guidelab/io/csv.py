"""Tables in and out, as CSV."""

from pathlib import Path
from typing import TYPE_CHECKING

from guidelab.errors import UserError, brief
from guidelab.io.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

_HEADER_BYTES = 1 << 16  # of a CSV: parsing takes the square of the number of columns


def read_csv(path: str | Path) -> "pd.DataFrame":
    """A CSV written by guidelab as a DataFrame; empty cells of text columns are empty strings, not NaN.

    Raises:
        UserError: missing, empty or malformed, with rows longer than the header, or with a header no table has.
    """
    import pandas as pd  # here: most jobs write arrays alone, and its import takes .3 s

    try:
        with open(path, "rb") as file:
            if len(file.readline(_HEADER_BYTES + 1)) > _HEADER_BYTES:
                raise ValueError(f"its header has more than {_HEADER_BYTES} bytes")
        table = pd.read_csv(
            path, keep_default_na=False, na_values={c: [""] for c in ("value", "std_error", "ess")}
        )
        # pandas takes the first cells for names of the rows where rows are longer than the header
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more cells than its header")
        return table
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Build it with snakemake {path}") from error
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise UserError(
            f"{path}: is not a readable CSV ({brief(error)}). Correct it, or delete it and run again."
        ) from error


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table without its index, atomically; floats with 10 significant digits so that bytes repeat."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
