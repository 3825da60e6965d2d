"""Label, direction, unit, digits and definition of every metric: of metrics.csv, and of the job's plugins."""

from typing import Any

import pandas as pd

from guidelab.io import read_csv


def metrics_info(job: dict[str, Any]) -> pd.DataFrame:
    """One row a metric, those of plugins last."""
    listed = read_csv(job["inputs"]["metrics"][0])
    own = pd.DataFrame(job.get("metrics_of_plugins", []), columns=listed.columns)
    return pd.concat([listed, own], ignore_index=True) if len(own) else listed
