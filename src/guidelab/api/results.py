"""Read results of the workflow as DataFrames."""

from pathlib import Path
from typing import TYPE_CHECKING

from guidelab.errors import UserError, closest
from guidelab.io import read_csv

if TYPE_CHECKING:
    import pandas as pd

_FILES = {
    "measurements": "results/{}/measurements.csv",
    "selected": "results/{}/selected.csv",
    "discriminators": "results/{}/discriminators.csv",
    "divergences": "results/{}/divergences.csv",
    "table": "results/tables/{}.csv",
}


def load(experiment: str, what: str = "measurements", folder: str | Path = ".") -> "pd.DataFrame":
    """What the workflow measured.

    Args:
        experiment: its name in params.yaml.
        what: `measurements` (one row a number, with variant, weight, seeds, sizes, `value` and `std_error`), `selected`
            (each variant's chosen weight), `discriminators`, `divergences`, or `table` (as printed).
        folder: of the project or study.
    Raises:
        UserError: another word, or the file is absent or broken; the message has the command that builds it.
    """
    if not isinstance(what, str) or what not in _FILES:
        raise UserError(
            f"results.load: given {what!r}, wanted {', '.join(_FILES)}{closest(str(what), list(_FILES))}"
        )
    return read_csv(Path(folder) / _FILES[what].format(experiment))
