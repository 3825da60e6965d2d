"""Check the targets on Snakemake's command line: files that params.yaml does not plan are refused."""

from collections.abc import Iterable, Mapping
from typing import Any

from guidelab.errors import UserError, closest
from guidelab.nearest import listed
from guidelab.plan.plan import Plan
from guidelab.plan.rules import maker
from guidelab.project import resource

_CONFIG = ("params",)  # keys of Snakemake's configuration


def experiment_of(target: str) -> str:
    """The experiment a file below `results/` belongs to; empty for anything else."""
    path = target.removeprefix("./")
    made, parts = maker(path), path.split("/")
    if made:
        return made[1]
    if parts[0] != "results" or len(parts) < 3:
        return ""
    return parts[2].split(".")[0] if parts[1] in ("tables", "figures") else parts[1]


def params_path(config: Mapping[str, Any]) -> str:
    """The parameters file that Snakemake's configuration names: `--config params=mine.yaml`, or a `--configfile`.

    Without one, params.yaml of the working directory, and where there is none, the workflow's own.

    Raises:
        UserError: another key, or no path.
    """
    for key in config:
        if key not in _CONFIG:
            raise UserError(
                f"--config {key}: unknown key; wanted {' or '.join(_CONFIG)}{closest(str(key), _CONFIG) or '.'} Constants of science are "
                "in params.yaml: copy it, edit the copy, and name it with --config params=mine.yaml"
            )
    path = config.get("params", resource("params.yaml"))
    if not isinstance(path, str) or not path:
        raise UserError(
            f"--config params: given {path!r}, wanted the path of a parameters file: params=mine.yaml"
        )
    return path


def refuse_unknown(plan: Plan, targets: Iterable[str], *, alone: bool = True) -> None:
    """Check every target below `results/`; Snakemake itself checks names of rules and other files.

    Args:
        plan: of a params.yaml.
        targets: words of the command line.
        alone: False where another workflow has rules too: what it puts below `results/` in folders of its own is not checked.
    Raises:
        UserError: no such experiment, or the experiment plans no such file; names the closest.
    """
    for given in targets:
        target = given.removeprefix("./")
        name = experiment_of(target)
        if not name or not (alone or name in plan.spec.experiments):
            continue
        planned = [path for stage in plan.stages(name) for path in (*stage.files, stage.manifest)]
        if target not in planned:
            folder = target.rsplit("/", 1)[0]
            near = [path.rsplit("/", 1)[1] for path in planned if path.startswith(f"{folder}/")]
            held = f" (in {folder} it plans {listed(target.rsplit('/', 1)[1], near)})" if near else ""
            raise UserError(f"{target}: params.yaml plans no such file{closest(target, planned)}{held}")
