"""Where the time of `make paper` and `make test` goes: CPU and wall seconds by rule, and wall seconds by test file.

    python benchmarks/where_time_goes.py                          # jobs that ran in this folder, tests of its last `make test`
    python benchmarks/where_time_goes.py --folder DIR --tests FILE

Jobs: the notes that they leave in `logs/_jobs/`, one for each output that is there; CPU seconds include the start of Python.
Tests: pytest's JUnit report, with set-up; tests run on several cores at once, so the sum is longer than the wait.
"""

import argparse
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guidelab.plan.rules import maker
from guidelab.provenance.notes import FOLDER

REPORT = ".state/tests.xml"


@dataclass(frozen=True)
class Spent:
    """What one job or test took: its rule or file, wall seconds, CPU seconds (None: not recorded)."""

    name: str
    wall_s: float
    cpu_s: float | None = None


def jobs(folder: Path) -> Iterator[Spent]:
    """Finished jobs of a working folder."""
    for path in sorted((folder / FOLDER).rglob("*.json")):
        note = json.loads(path.read_text(encoding="utf-8"))
        found = maker(path.relative_to(folder / FOLDER).as_posix().removesuffix(".json"))
        if found and note["finished"]:
            yield Spent(found[0], note["seconds"] + note["earlier_seconds"], note.get("cpu_seconds"))


def tests(report: Path) -> Iterator[Spent]:
    """Tests of a JUnit report, by file."""
    for case in ElementTree.parse(report).iter("testcase"):
        words = case.get("classname", "").split(".")
        name = next((word for word in words if word.startswith("test_")), words[-1])
        yield Spent(name, float(case.get("time", 0)))


def table(what: str, spent: Iterable[Spent]) -> str:
    """A Markdown table by name, the longest first; CPU seconds where all of a name have them."""
    by: dict[str, list[Spent]] = {}
    for one in spent:
        by.setdefault(one.name, []).append(one)
    lines = [f"| {what} | number | CPU s | wall s |", "|---|---:|---:|---:|"]
    everything = [one for ones in by.values() for one in ones]
    for name, ones in [*sorted(by.items(), key=lambda item: -_wall(item[1])), ("all", everything)]:
        cpu = [one.cpu_s for one in ones if one.cpu_s is not None]
        shown = f"{sum(cpu):.0f}" if len(cpu) == len(ones) and ones else ""
        lines.append(f"| {name} | {len(ones)} | {shown} | {_wall(ones):.0f} |")
    return "\n".join(lines)


def _wall(ones: list[Spent]) -> float:
    return sum(one.wall_s for one in ones)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(), help="where Snakemake ran")
    parser.add_argument("--tests", type=Path, help=f"a JUnit report; by default the folder's {REPORT}")
    given = parser.parse_args(arguments)
    report = given.tests or given.folder / REPORT
    if given.tests and not report.is_file():
        parser.error(f"--tests: {report}: no such file; wanted the report of pytest --junitxml FILE")
    done = list(jobs(given.folder))
    parts = [table("rule", done)] if done else []
    parts += [table("test file", tests(report))] if report.is_file() else []
    if not parts:
        parser.error(
            f"{given.folder}: neither {FOLDER} nor {REPORT} is there; run make paper or make test first"
        )
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
