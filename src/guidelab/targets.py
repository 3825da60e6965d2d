"""What a person asks Snakemake for: refused before anything is planned when params.yaml plans no such file."""

from collections.abc import Iterable

from guidelab.errors import UserError, closest
from guidelab.nearest import listed
from guidelab.plan import Plan


def experiment_of(target: str) -> str:
    """The experiment a file below `results/` belongs to; empty for anything else."""
    parts = target.removeprefix("./").split("/")
    if parts[0] != "results" or len(parts) < 3:
        return ""
    return parts[2].split(".")[0] if parts[1] in ("tables", "figures") else parts[1]


def _owner(name: str, known: Iterable[str]) -> str:
    """The experiment of a table that has a name behind the experiment's: `toy2d` for `toy2d_divergences`."""
    names = list(known)
    longer = [other for other in names if name.startswith(f"{other}_")]
    return name if name in names or not longer else max(longer, key=len)


def refuse_unknown(plan: Plan, targets: Iterable[str]) -> None:
    """Check every target below `results/`; names of rules and other files are Snakemake's to judge.

    Raises:
        UserError: no such experiment, or the experiment plans no such file; names the closest.
    """
    for given in targets:
        target = given.removeprefix("./")
        name = experiment_of(target)
        if not name:
            continue
        stages = plan.experiment(_owner(name, plan.spec.experiments)).stages()
        planned = [path for stage in stages for path in (*stage.files, stage.manifest)]
        if target not in planned:
            folder = target.rsplit("/", 1)[0]
            beside = [path.rsplit("/", 1)[1] for path in planned if path.startswith(f"{folder}/")]
            held = f" (in {folder} it plans {listed(target.rsplit('/', 1)[1], beside)})" if beside else ""
            raise UserError(f"{target}: params.yaml plans no such file{closest(target, planned)}{held}")
