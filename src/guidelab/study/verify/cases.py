"""Select the numbers of an experiment that `guidelab verify` recomputes: samples, feature space, measured rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.io import read_csv
from guidelab.metrics.fidelity import FIDELITY_METRICS
from guidelab.nearest import one_of
from guidelab.plan.job import Job
from guidelab.plan.plan import Plan
from guidelab.plan.runs import PlannedExperiment, Run


@dataclass(frozen=True)
class Case:
    """Samples of one training seed and block in one feature space.

    Attributes:
        run, seed, block: which samples. measure: the job that measured them.
        space: name of the feature space. rows: the measured rows by unqualified metric.
    """

    run: Run
    seed: int
    block: str
    measure: Job
    space: str
    rows: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """Of the space: whose features (`of`), `reference`, `neighbours`, `counts`."""
        found: dict[str, Any] = self.measure.spec["spaces"][self.space]
        return found

    @property
    def first(self) -> int:
        """The first sample seed of the block, which draws the subset of real images."""
        return int(self.measure.spec["blocks"][self.block][0])


def cases(
    plan: Plan, name: str, points: Sequence[str], block: str | None, spaces: Sequence[str]
) -> list[Case]:
    """What is compared: the given points in the given spaces, in one block of samples.

    Args:
        plan: of params.yaml.
        name: of the experiment.
        points: such as `cfg/w2.00`; those of the headline where none is given.
        block: of samples; the first that is reported where none is given.
        spaces: feature spaces; all that hold a metric of torch-fidelity's where none is given.

    Raises:
        UserError: an experiment of points, a name that params.yaml does not know, or files that are not there.
    """
    e = plan.experiment(name)
    if not e.images:
        known = (other for other in plan.spec.experiments if plan.experiment(other).images)
        raise UserError(
            f"{name}: its samples are points, which torch-fidelity does not measure; wanted an experiment of images"
            f"{', such as ' + some if (some := next(known, '')) else ''}"
        )
    points = points or e.spec.paper.headline
    if not points:
        raise UserError(
            f"{name}: its headline has no points; give --point VARIANT/wW, such as --point cfg/w2.00"
        )
    runs = [run for point in points for run in e.runs_at(point)]
    jobs = {run: plan.job("measure", name, *run.names) for run in dict.fromkeys(runs)}
    blocks = next(iter(jobs.values())).spec["blocks"]
    reported = [known for known in blocks if known != e.spec.evaluate.select_block]
    block = block or (reported or list(blocks))[0]
    if block not in blocks:
        raise UserError(f"--block: given {block!r}, wanted {one_of(block, blocks)}")
    _check_there(e, jobs)
    found = [case for run, job in jobs.items() for case in _of_run(run, job, block, spaces)]
    if not found:
        raise UserError(
            f"{name}: holds no metric of torch-fidelity's ({', '.join(FIDELITY_METRICS)}) that compares with real images; published "
            "statistics are not computed again"
        )
    return found


def _check_there(e: PlannedExperiment, jobs: dict[Run, Job]) -> None:
    """Refuse files that are not there, all in one message, before anything is computed."""
    spaces = [space for job in jobs.values() for space in job.spec["spaces"].values()]
    folds = sorted({space["reference"] for space in spaces if not space["statistics"]})
    wanted = [path for run, job in jobs.items() for path in (e.path("sample", *run.names), job.outputs[0])]
    wanted += [e.path("prepare", fold) for fold in folds]
    absent = [path for path in wanted if not Path(path).is_file()]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise UserError(
            f"{', '.join(absent[:3])}{more}: no such file; wanted samples, their measured rows and real images. Build them with: "
            f"snakemake -c2 {' '.join(absent[:3])}"
        )


def _of_run(run: Run, job: Job, block: str, spaces: Sequence[str]) -> Iterator[Case]:
    """One case a training seed and space, with its measured rows; published statistics are no images to extract."""
    known = {name: s for name, s in job.spec["spaces"].items() if not s["statistics"]}
    for name in spaces:
        if name not in known:
            raise UserError(f"--features: given {name!r}, wanted {one_of(name, known)}")
    rows = read_csv(job.outputs[0])
    for seed in run.seeds:
        for name in spaces or known:
            mine = rows[(rows.seed_block == block) & (rows.train_seed == seed)]
            held = {metric: mine[mine.metric == f"{metric}@{name}"] for metric in FIDELITY_METRICS}
            numbers = {metric: found.iloc[0] for metric, found in held.items() if len(found)}
            if numbers:
                yield Case(run, seed, block, job, name, numbers)
