"""Update dvc.lock after an acceptance: stages that are up to date get the hash of the current code."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
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
        commit(root, done, recorded(stages, root))
    return done


def _locked_before(root: Path, name: str) -> bool:
    """Whether DVC has a lock of a stage: `toy2d-train`, or `workflow/dvc/toy2d_full/dvc.yaml:train`."""
    file, _, stage = name.rpartition(":")
    lock = (root / (file or "dvc.yaml")).with_suffix(".lock")
    return lock.is_file() and f"\n  {stage}:\n" in lock.read_text(encoding="utf-8")


def unsettled(plan: Plan, stages: Sequence[Stage], stage: Stage, root: Path, shell: Mapping[str, str]) -> str:
    """What keeps a stage from being up to date, in words; empty when nothing does.

    Files that are absent do not count: a clone may lack them.
    """
    state = State(root)
    known = recorded(stages, root)
    shas = {path: entry.sha256 for path, entry in known.items()}
    for path in (*stage.files, stage.manifest):
        entry = known.get(path)
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
    return ""


def recorded(stages: Sequence[Stage], root: Path) -> records.Entries:
    """The records of all stages together."""
    return {path: entry for stage in stages for path, entry in records.read(root, stage)[0].items()}


def commit(root: Path, names: Sequence[str], known: Collection[str]) -> None:
    """Write the lock of some stages; files and folders that are not here, or not whole, keep their hashes.

    `dvc commit` would hash what is left of a folder, and fails where a dependency is absent.

    Args:
        root: the project's folder. names: of the stages, as DVC has them. known: every recorded file.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    absent = [path for path in known if not (root / path).exists()]
    try:
        logging.getLogger("dvc").setLevel(logging.WARNING)  # it announces every stage
        with Repo(str(root)) as repo, repo.lock:
            places = {
                stage: Path(stage.path).relative_to(repo.root_dir).as_posix() for stage in repo.index.stages
            }
            wanted = {name if ":" in name else f"dvc.yaml:{name}" for name in names}
            stages = [stage for stage, place in places.items() if f"{place}:{stage.name}" in wanted]
            for stage in stages:
                for part in (*stage.deps, *stage.outs):
                    own = str(part.def_path)
                    here = Path(stage.wdir, own).exists() or not own.startswith("results/")
                    if here and not any(path == own or path.startswith(f"{own}/") for path in absent):
                        part.save()
                        if part in stage.outs:
                            part.commit()
                stage.md5 = stage.compute_md5()
            if stages:
                stages[0].dvcfile.dump_stages(stages, update_pipeline=False)
    except DvcException as error:
        raise UserError(
            f"dvc.lock: cannot be written ({error}). The results are accepted; write it with: dvc commit -f {' '.join(names)}"
        ) from error
