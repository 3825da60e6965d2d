"""The run summary printed on success: jobs that ran, time, and paths of tables and figures."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from guidelab.plan.plan import Plan
from guidelab.plan.targets import experiment_of

_DONE = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)")


def summary(plan: Plan, log: str | Path, arguments: Sequence[str] = ()) -> str:
    """A few lines for the terminal.

    Args:
        plan: the plan that was run.
        log: Snakemake's own log of the run, which says what ran; left out of the summary when it cannot be read.
        arguments: of Snakemake. The experiments of its targets are named, by default the default ones, with those of
            their results that are there.
    """
    path = Path(log)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = text.splitlines()
    ran = Counter(match[1] for line in lines if (match := _DONE.match(line)))
    jobs = ", ".join(f"{count} {rule}" for rule, count in sorted(ran.items(), key=lambda item: -item[1]))
    requested = {experiment_of(argument) for argument in arguments} - {""}
    if not requested or "all" in arguments:
        requested |= set(plan.spec.default)
    found = ["", f"ran: {jobs or 'nothing'}"]
    for name in plan.spec.experiments:
        results = _results(plan, name) if name in requested else []
        found += [f"{name} ({plan.spec.experiments[name].scale}):", *results] if results else []
    return "\n".join(found)


def _results(plan: Plan, name: str) -> list[str]:
    """Lines about the printed results of an experiment that are there."""
    experiment = plan.experiment(name)
    drawn = [f for f in experiment.figures if Path(experiment.path("figure", f)).is_file()]
    table = [path for path in experiment.outputs("table") if Path(path).is_file()]
    lines = [f"  table     {', '.join(table)}"] if table else []
    story, numbers = experiment.path("story"), experiment.path("collect")
    lines += [f"  findings  {story}"] if Path(story).is_file() else []
    lines += [f"  figures   results/figures/{name}/ ({', '.join(drawn)}: .pdf, .png, .csv)"] if drawn else []
    lines += [f"  numbers   {numbers}"] if Path(numbers).is_file() else []
    return lines
