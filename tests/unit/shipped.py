"""Whether results in git were made with the parameters that params.yaml and the code plan now."""

import json
from pathlib import Path

from guidelab.plan.rules import maker
from guidelab.provenance import accepted, records

ROOT = Path(__file__).parents[2]


def outdated(plan, table: str) -> bool:
    """Whether a job of the table's experiment would get other parameters now, code digests aside."""
    _, experiment, *_ = maker(table)
    for stage in plan.stages(experiment):
        entries, _ = records.read(ROOT, stage)
        for path in set(entries) & set(stage.files):
            then = accepted.payload_of(entries[path].record["params"])
            now = json.loads(plan.payload(*maker(path)))
            if then and {**then, "code": ""} != {**now, "code": ""}:
                return True
    return False
