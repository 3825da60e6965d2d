"""Whether results in git were made with the parameters that params.yaml and the code plan now."""

import json
from pathlib import Path

from guidelab.plan.rules import maker
from guidelab.provenance import accepted, records

ROOT = Path(__file__).parents[2]


def outdated(plan, table: str) -> bool:
    """Whether a sample job of a table's experiment would be given other parameters now, its code digest aside."""
    _, experiment, *_ = maker(table)
    (stage,) = [stage for stage in plan.stages(experiment) if stage.name == "sample"]
    entries, _ = records.read(ROOT, stage)
    jobs = [(key, entries[path]) for path in sorted(entries) if (key := maker(path)) and key[0] == "sample"]
    key, entry = jobs[0]
    then, now = accepted.payload_of(entry.record["params"]), json.loads(plan.payload(*key))
    return {**then, "code": ""} != {**now, "code": ""}
