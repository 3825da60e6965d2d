"""dvc.lock after an acceptance: stages with nothing left to do are locked to the code as it is now."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guidelab.accept.changes import planned
from guidelab.errors import UserError
from guidelab.plan.dvc import stage_names
from guidelab.plan.plan import Plan
from guidelab.plan.rules import maker
from guidelab.plan.stage import Stage
from guidelab.provenance import accepted, records
from guidelab.provenance.disk import State
from guidelab.provenance.records import combined


def lock(
    plan: Plan, experiment: str, root: Path, shell: Mapping[str, str], log: Callable[[str], None]
) -> list[str]:
    """Have DVC note the present code and records of every stage whose results are all up to date.

    Args:
        plan: of params.yaml. experiment: its name. root: the project's folder.
        shell: the present shell line of every rule.
        log: is given what stays as it is, and why.
    Returns:
        What DVC calls these stages; none where the experiment has no pipeline.
    """
    stages = plan.stages(experiment)
    try:
        names = stage_names(plan, experiment) if (root / ".dvc").is_dir() else []
    except UserError:  # of scale ci or smoke, in the project's own pipelines
        names = []
    ready = [name for name, stage in zip(names, stages, strict=False) if _locked_before(root, name)]
    done: list[str] = []
    for name, stage in zip(names, stages, strict=False):
        if name not in ready:
            continue
        left = unsettled(plan, stages, stage, root, shell)
        if left:
            log(f"dvc.lock: stage {name} stays as it is: {left}")
        else:
            done.append(name)
    if done:
        _commit(root, done)
    return done


def _locked_before(root: Path, name: str) -> bool:
    """Whether DVC has a lock of a stage: `toy2d-train`, or `workflow/dvc/toy2d_full/dvc.yaml:train`."""
    file, _, stage = name.rpartition(":")
    lock = (root / (file or "dvc.yaml")).with_suffix(".lock")
    return lock.is_file() and f"\n  {stage}:\n" in lock.read_text(encoding="utf-8")


def unsettled(plan: Plan, stages: Sequence[Stage], stage: Stage, root: Path, shell: Mapping[str, str]) -> str:
    """What keeps a stage from being up to date, in words; empty when nothing does.

    Files that are absent do not count as long as all of their folder are: a clone may lack them.
    """
    state = State(root)
    shas: dict[str, str] = {}
    entries: records.Entries = {}
    for one in stages:
        found, _ = records.read(root, one)
        shas |= {path: entry.sha256 for path, entry in found.items()}
        entries |= found if one is stage else {}
    for path in (*stage.files, stage.manifest):
        entry = entries.get(path)
        if entry is None:
            return f"no record of {path}"
        payload, wanted = accepted.payload_of(entry.record.get("params") or []), planned(plan, path)
        if wanted is not None and payload != wanted:
            return f"{path} is outdated"
        rule = (maker(path) or (str(entry.record.get("rule")),))[0]
        line = entry.record.get("code")
        if line != shell.get(rule):
            return f"{path}: the shell line of rule {rule} is another now (--shell accepts it)"
        if entry.inputs_sha256 is not None and entry.inputs_sha256 != combined(entry.sources, shas):
            return f"{path} was made from other inputs than those recorded now"
        if (root / path).is_file() and state.sha256(path) != entry.sha256:
            return f"{path} is not what its job wrote"
        if not (root / path).is_file() and any(
            (root / own).exists() and path.startswith(own) for own in stage.owned
        ):
            return f"{path} is not here (dvc pull {path})"
    return ""


def _commit(root: Path, names: Sequence[str]) -> None:
    """`dvc commit` of some stages; outputs that are not here keep their hashes."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        logging.getLogger("dvc").setLevel(logging.WARNING)  # it announces every stage
        with Repo(str(root)) as repo:
            for name in names:
                repo.commit(name, force=True, allow_missing=True)
    except DvcException as error:
        raise UserError(
            f"dvc.lock: cannot be written ({error}). The results are accepted; write it with: dvc commit -f {' '.join(names)}"
        ) from error
