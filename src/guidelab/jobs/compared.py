"""Inputs shared by jobs that compare points: rows with the parts of their errors, and the selected weights."""

from collections.abc import Mapping

import pandas as pd

from guidelab.io import load_arrays, read_csv
from guidelab.paper import joint


def measured(inputs: Mapping[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of an experiment with their vectors (`paper.joint`), and the chosen weights.

    Raises:
        UserError: files that are absent or broken.
    """
    measurements, selected = (read_csv(inputs[name][0]) for name in ("measurements", "selected"))
    tensors, about = load_arrays(inputs["errors"][0])
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    return joint.attached(measurements, arrays, about["points"]), selected
