"""`guidelab theorem`: the theorem of discriminator guidance in a case solved exactly, for two samplers."""

from pathlib import Path
from typing import Any

from guidelab.io import write_csv
from guidelab.metrics.dg_theorem import theorem_table


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """One row for each guidance weight: exact KL of the SDE and the ODE sampler, and the theorem's bound."""
    write_csv(outputs[0], theorem_table(job["weights"]).round(9))
