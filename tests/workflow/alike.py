"""Tables of the same experiment made in two ways, by two test files that may run in two processes: compared by the second.

So nothing is built twice: the file that builds an experiment locally leaves its tables, and so does the one that builds it
on the test cluster; whichever comes later compares.
"""

from pathlib import Path

import pytest

BUILDS = {  # which test file builds an experiment in which way
    "toy2d_ci": {"local": "test_real", "slurm": "test_slurm"},
    "imagenet256_smoke": {"local": "test_smoke", "slurm": "test_slurm"},
}


def alike(
    request: pytest.FixtureRequest, factory: pytest.TempPathFactory, experiment: str, way: str, root: Path
) -> bool | None:
    """Leave the tables of an experiment, and compare them with those made the other way.

    Args:
        way: `local` or `slurm`. root: of the tree that holds them.
    Returns:
        True if they were compared and are the same; False if the other way is still to come; None if it will not come.
    """
    shared = factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        shared = shared.parent  # of all processes of pytest-xdist
    names = [f"{experiment}.{kind}" for kind in ("csv", "md", "tex")]
    place = shared / "alike" / way
    place.mkdir(parents=True, exist_ok=True)
    for name in names:  # before looking for the others: of two that end together, at least one finds both
        (place / name).write_bytes((root / "results/tables" / name).read_bytes())
    other = next(name for name in BUILDS[experiment] if name != way)
    there = [shared / "alike" / other / name for name in names]
    if not all(path.exists() for path in there):
        collected = {Path(str(item.fspath)).stem for item in request.session.items}
        return False if BUILDS[experiment][other] in collected else None
    for path in there:
        assert path.read_bytes() == (place / path.name).read_bytes(), f"{path.name}: {way} and {other} differ"
    return True
