"""`guidelab` under fault injection: the real command, which notes when it starts and ends, saves often, and can kill
itself at one of its writes.

Called as `python at_risk.py FOLDER ARGUMENTS...`. In FOLDER: `jobs.log`, one line for each start and each end; and
`fault.json`, if this or a later job is to kill itself just before or just after a file is put in its place.
"""

import json
import os
import sys
import time
from pathlib import Path


def note(folder: Path, word: str, rule: str, output: str) -> None:
    """One line of the log; short enough to be written at once, whoever else writes."""
    with open(folder / "jobs.log", "a", encoding="utf-8") as log:
        log.write(f"{time.time():.3f} {word} {rule} {output} {os.getpid()}\n")


def fault(folder: Path) -> bool:
    """Take the fault, if it is this job's turn, and prepare it; whether it was taken."""
    path = folder / "fault.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    starts = sum(" start " in line for line in (folder / "jobs.log").read_text(encoding="utf-8").splitlines())
    if starts < given["from_start"]:
        return False
    try:
        path.rename(_taken(folder))
    except OSError:
        return False  # another job took it
    put, count = os.replace, 0

    def replace(source, target, **more):
        nonlocal count
        count += 1
        mine = count == given["write"]
        if mine and given["when"] == "before":
            die(target)
        put(source, target, **more)
        if mine:
            die(target)

    def die(target):
        (folder / "fault.done").write_text(
            f"{os.getpid()} {given['when']} {Path(target).name}", encoding="utf-8"
        )
        os.kill(os.getpid(), given["signal"])
        time.sleep(60)  # a signal that is handled comes back here

    os.replace = replace
    return True


def _taken(folder: Path) -> Path:
    return folder / f"fault.taken-{os.getpid()}"


def main() -> None:
    from guidelab.plan.rules import maker

    folder = Path(sys.argv[1])
    del sys.argv[1]
    outputs = [word for word in sys.argv if word.startswith("results/")]
    rule = maker(outputs[0])[0] if sys.argv[1] == "run" else sys.argv[1]
    output = outputs[0] if outputs else "-"
    note(folder, "start", rule, output)
    taken = fault(folder)
    if rule in ("train", "discriminate", "grade"):
        from guidelab.train import loop

        loop.run.__kwdefaults__["save_every_s"] = 0.3
        go_on = loop._resume

        def resume(course, state_folder):
            record = go_on(course, state_folder)
            note(folder, f"at{record.iteration}", rule, output)
            return record

        loop._resume = resume
    from guidelab.cli.app import main as real

    real()
    if taken and _taken(folder).exists():  # it writes fewer files: the next job takes the fault
        _taken(folder).rename(folder / "fault.json")
    note(folder, "end", rule, output)


main()
