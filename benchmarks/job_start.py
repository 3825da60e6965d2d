"""What the start of a job costs: CPU seconds from the start of Python to the first line of the job, next to `import torch`.

    python benchmarks/job_start.py
    python benchmarks/job_start.py sample,toy2d,none,w1.00,seeds0-4

A job is named as for `guidelab job`, with commas. It is started as Snakemake starts it, without its inputs, and ends before it works.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from guidelab.cli.commands import load_plan
from guidelab.provenance import code

JOBS = (
    "sample,toy2d,none,w1.00,seeds0-4",
    "measure,toy2d,none,w1.00,seeds0-4",
    "sample,fashion,none,w1.00,seed0",
)
STARTED = """
import os
import guidelab.cli.run as run
real = run.import_module
def ends(name):
    real(name)
    os._exit(0)
run.import_module = ends
from guidelab.cli.app import main
main()
"""


def cpu_seconds(
    code_text: str, *arguments: str, job: str = "", environ: dict[str, str] | None = None
) -> float:
    """CPU seconds of a Python process; the least of five."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", code_text, *arguments],
            input=job, text=True, env=environ, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", default=JOBS, help="RULE,EXPERIMENT,NAMES")
    jobs = parser.parse_args().jobs
    plan = load_plan(Path("params.yaml"))
    print("| process | CPU s |\n|---|---:|")
    print(f"| `import torch` | {cpu_seconds('import torch'):.2f} |")
    for name in jobs:
        rule, *names = name.split(",")
        payload = json.loads(plan.payload(rule, *names)) | {"inputs": {}}
        environ = dict(os.environ)
        code.own_code_first(environ)
        code.announce(environ)
        outputs = plan.job(rule, *names).outputs
        spent = cpu_seconds(STARTED, "run", "-o", *outputs, job=json.dumps(payload), environ=environ)
        print(f"| `{rule} {' '.join(names)}` | {spent:.2f} |")


if __name__ == "__main__":
    main()
