"""Draw a split of points from a dataset with an exact density."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from guidelab.assemble import dataset
from guidelab.io import save_arrays
from guidelab.registry import FACTS


def save(job: Mapping[str, Any], output: Path) -> None:
    """Draw the fold and save it as `x [n, *event]`."""
    generator = torch.Generator().manual_seed(job["seed"])
    x = dataset(job["dataset"]).draw(job["n"], generator)
    name, classes = job["dataset"]["name"], job["dataset"]["classes"]
    facts = FACTS.load(name)(classes) if job["fold"] == "reference" and name in FACTS else {}
    about = {"kind": "data", "fold": job["fold"], "seed": job["seed"], "facts": facts, "code": job["code"]}
    save_arrays(output, {"x": x}, about)
