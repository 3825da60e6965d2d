"""The last words of a run: what ran, how long it took, and where the tables and figures are."""

import re
from collections import Counter
from pathlib import Path

from guidelab.plan import Plan

_DONE = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)")


def summary(plan: Plan, log: str | Path) -> str:
    """A few lines for the terminal.

    Args:
        plan: the plan that was run; experiments whose table is there are named.
        log: Snakemake's own log of the run; left out of the summary when it cannot be read.
    """
    path = Path(log)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    ran = Counter(match[1] for line in text.splitlines() if (match := _DONE.match(line)))
    jobs = ", ".join(f"{count} {rule}" for rule, count in sorted(ran.items(), key=lambda item: -item[1]))
    lines = ["", f"ran: {jobs or 'nothing'}"]
    made = [name for name in plan.spec.experiments if Path(plan.experiment(name).table[1]).is_file()]
    for name in made:
        experiment = plan.experiment(name)
        lines += [
            f"{name} ({plan.spec.experiments[name].scale}):",
            f"  table     {experiment.table[1]} (and .csv, .tex)",
            f"  findings  {experiment.story}",
            f"  figures   results/figures/{name}/ ({', '.join(experiment.figures)}: .pdf, .png, .csv)",
            f"  numbers   {experiment.collected[0]}",
        ]
    return "\n".join(lines)
