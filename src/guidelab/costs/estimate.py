"""From work to hours, rule by rule: GPU-hours at a stated utilisation, core-hours of what runs on CPUs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from guidelab.costs.gpus import Gpu
from guidelab.costs.graph import Node, jobs_for
from guidelab.costs.work import Work, work_of
from guidelab.plan.job import Job
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.spec import Experiment
from guidelab.spec.look import is_streamed

MFU_RANGE = (0.25, 0.50)  # of model FLOP utilisation: what training and sampling codes usually reach
CORE_GFLOPS = {
    "images": 70.0,
    "points": 10.0,
}  # of one AVX-512 core in small nets' float32, measured (docs/costs.md)
START_S = 4.0  # of a job on a CPU: importing, reading, writing


@dataclass
class Line:
    """What all jobs of one rule take together.

    Attributes:
        rule: its name; `all` for a total.
        jobs, done, left: how many there are, have all outputs on disk, and are still to be run for the target.
        images, evaluations, flop, disk_bytes, memory_bytes: see `Work`; memory is the largest job's.
        gpu_hours: on the named GPU at the stated utilisation.
        core_hours: of jobs on a CPU: measured where a record is there, otherwise estimated from the measured jobs of
            the rule, otherwise from the assumed rate.
        left_gpu_hours, left_core_hours: the same of what is left.
        longest_gpu_hours: of one job on a GPU, which no number of GPUs makes shorter.
        measured_jobs, measured_s, expected_s: finished jobs with a record, their wall-clock seconds, and what is
            estimated for them.
    """

    rule: str
    jobs: int = 0
    done: int = 0
    left: int = 0
    images: int = 0
    evaluations: dict[str, int] = field(default_factory=dict)
    flop: float = 0.0
    disk_bytes: float = 0.0
    memory_bytes: float = 0.0
    gpu_hours: float = 0.0
    core_hours: float = 0.0
    left_gpu_hours: float = 0.0
    left_core_hours: float = 0.0
    longest_gpu_hours: float = 0.0
    measured_jobs: int = 0
    measured_s: float = 0.0
    expected_s: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A line for every rule in the order they run, their total, and what limits the figures."""

    targets: tuple[str, ...]
    gpu: Gpu
    mfu: float
    lines: list[Line]
    total: Line
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain content, with the assumptions."""
        assumed = {"mfu_range": MFU_RANGE, "core_gflops": CORE_GFLOPS, "start_s": START_S}
        return asdict(self) | {"assumed": assumed}


@dataclass(frozen=True)
class _Costed:
    node: Node
    work: Work
    on_gpu: bool
    expected_s: float
    measured_s: float | None


def estimate(
    plan: Plan,
    targets: Sequence[str],
    gpu: Gpu,
    mfu: float = 0.40,
    seconds: Callable[[str], float | None] = lambda path: None,
    exists: Callable[[str], bool] | None = None,
) -> Estimate:
    """Count all jobs of some targets and turn them into hours.

    Args:
        plan: of a params.yaml.
        targets: names of experiments, or paths below `results/`.
        gpu: what GPU-hours are counted in.
        mfu: share of its peak that the arithmetic counted here reaches.
        seconds: the wall-clock seconds the job of an output took, None where that is not known.
        exists: whether an output is there; looks on disk when None.
    Raises:
        UserError: a target is not known, or a net of it cannot be built.
    """
    costed = [_cost(plan, node, gpu, mfu, seconds) for node in jobs_for(plan, targets, exists)]
    rules = list(dict.fromkeys(c.node.job.rule for c in costed))
    lines = [_line(rule, [c for c in costed if c.node.job.rule == rule]) for rule in rules]
    return Estimate(tuple(targets), gpu, mfu, lines, _total(lines), _notes(costed, gpu))


def _cost(plan: Plan, node: Node, gpu: Gpu, mfu: float, seconds: Callable[[str], float | None]) -> _Costed:
    e = plan.spec.experiments[node.experiment]
    work = work_of(e, node.job)
    there = on_gpu(e, node.job)
    expected = gpu_seconds(work, gpu, mfu) if there else core_seconds(e, work)
    measured = seconds(node.job.outputs[0]) if node.done else None
    return _Costed(node, work, there, expected, measured)


def on_gpu(e: Experiment, job: Job) -> bool:
    """Whether a job is counted in GPU-hours; what a smoke experiment computes takes any machine seconds."""
    streamed = RULES[job.rule].streamed
    return is_streamed(e) and e.scale != "smoke" and streamed is not None and streamed.gpu > 0


def gpu_seconds(work: Work, gpu: Gpu, mfu: float) -> float:
    """Seconds of a GPU that reaches a share `mfu` of its peak."""
    half = (work.flop - work.float32_flop) / gpu.peak_tflops
    return (half + work.float32_flop / gpu.float32_tflops) / (1e12 * mfu)


def core_seconds(e: Experiment, work: Work) -> float:
    """Seconds of a job on a CPU, where nothing was measured."""
    return START_S + work.flop / (CORE_GFLOPS["images" if e.images else "points"] * 1e9)


def _line(rule: str, costed: list[_Costed]) -> Line:
    line = Line(rule, len(costed))
    known = [(c.measured_s, c.expected_s) for c in costed if c.measured_s is not None]
    line.measured_jobs = len(known)
    line.measured_s, line.expected_s = sum(m for m, _ in known), sum(x for _, x in known)
    rate = line.measured_s / line.expected_s if line.expected_s else 1.0
    for c in costed:
        w = c.work
        line.done += c.node.done
        line.left += c.node.needed
        line.images += w.images
        line.flop += w.flop
        line.disk_bytes += w.disk_bytes
        line.memory_bytes = max(line.memory_bytes, w.memory_bytes)
        _add(line.evaluations, w.evaluations)
        if c.on_gpu:
            line.gpu_hours += c.expected_s / 3600
            line.longest_gpu_hours = max(line.longest_gpu_hours, c.expected_s / 3600)
            line.left_gpu_hours += c.node.needed * c.expected_s / 3600
        else:
            hours = (c.expected_s * rate if c.measured_s is None else c.measured_s) / 3600
            line.core_hours += hours
            line.left_core_hours += c.node.needed * hours
    return line


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for kind, count in more.items():
        total[kind] = total.get(kind, 0) + count


def _total(lines: Iterable[Line]) -> Line:
    total = Line("all")
    for line in lines:
        for name, value in vars(line).items():
            if name == "evaluations":
                _add(total.evaluations, value)
            elif name in ("memory_bytes", "longest_gpu_hours"):
                setattr(total, name, max(getattr(total, name), value))
            elif name != "rule":
                setattr(total, name, getattr(total, name) + value)
    total.images = sum(line.images for line in lines if line.rule in ("generate", "sample"))
    return total


def _notes(costed: list[_Costed], gpu: Gpu) -> list[str]:
    """What a reader of the figures must know, each once."""
    notes = []
    for c in costed:
        where = f"{c.node.experiment}: {c.node.job.rule} of {c.node.job.outputs[0].split('/', 2)[2]}"
        times = c.work.memory_bytes / (gpu.memory_gb * 1e9)
        if c.on_gpu and times > 1:
            notes.append(
                f"{where} holds about {c.work.memory_bytes / 1e9:,.0f} GB at once, {times:.1f} times one {gpu.name}'s "
                f"memory: give it a smaller {'microbatch' if c.node.job.rule == 'train' else 'batch'}"
            )
        if c.node.job.rule == "prepare" and not c.work.images:
            notes.append(
                f"{where}: only the files themselves say how many images; what is made of them is counted as 0"
            )
    return list(dict.fromkeys(notes))
