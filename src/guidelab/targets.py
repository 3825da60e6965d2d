"""What a person asks Snakemake for: refused before anything is planned when params.yaml plans no such file."""

from collections.abc import Iterable, Mapping
from typing import Any

from guidelab.errors import UserError, closest
from guidelab.nearest import listed
from guidelab.plan import Plan

_CONFIG = ("params",)  # keys of Snakemake's configuration


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


def params_path(config: Mapping[str, Any]) -> str:
    """The parameters file that Snakemake's configuration names: `--config params=mine.yaml`, or a `--configfile`.

    Raises:
        UserError: another key, or no path.
    """
    for key in config:
        if key not in _CONFIG:
            raise UserError(
                f"--config {key}: unknown key; wanted {' or '.join(_CONFIG)}{closest(str(key), _CONFIG) or '.'} Constants of science are "
                "in params.yaml: copy it, edit the copy, and name it with --config params=mine.yaml"
            )
    path = config.get("params", "params.yaml")
    if not isinstance(path, str) or not path:
        raise UserError(
            f"--config params: given {path!r}, wanted the path of a parameters file: params=mine.yaml"
        )
    return path


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
