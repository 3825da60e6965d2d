"""`guidelab theorem`: the theorem of discriminator guidance in a case solved exactly, for two samplers."""

from pathlib import Path
from typing import Any

from guidelab.io import write_csv
from guidelab.metrics.dg_theorem import DATA, MODEL, SIGMA_MAX, Gaussian, theorem_table

UNIT = "nats"  # of kl_sde, bound, gain and kl_ode


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """One row for each guidance weight: the two laws, exact KL of the SDE and the ODE sampler, and the theorem's bound."""
    table = theorem_table(job["weights"]).round(9)
    about: dict[str, Any] = {
        "data": _named(DATA),
        "model": _named(MODEL),
        "sigma_max": SIGMA_MAX,
        "unit": UNIT,
    }
    write_csv(outputs[0], table.assign(**about)[[*about, *table.columns]])


def _named(law: Gaussian) -> str:
    """`N(0.3, 0.36)`: mean and variance."""
    return f"N({law.mean:g}, {law.var:g})"
