"""CSV files as DataFrames, in and out."""

from pathlib import Path

import pandas as pd

from guidelab.errors import UserError
from guidelab.io.files import atomic_write


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV of ours as a DataFrame; empty cells of text columns are empty strings, not NaN.

    Raises:
        UserError: missing, empty or malformed.
    """
    try:
        return pd.read_csv(
            path, keep_default_na=False, na_values={c: [""] for c in ("value", "std_error", "ess")}
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Build it with snakemake {path}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a readable CSV ({error}). Delete it and run again.") from error


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table without its index, atomically; floats with 10 significant digits so that bytes repeat."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
