"""Whether results in git were made with the parameters that params.yaml and the code plan now."""

import json
from pathlib import Path

from guidelab.plan.rules import maker
from guidelab.provenance import accepted, records

ROOT = Path(__file__).parents[2]


def outdated(plan, table: str) -> bool:
    """Whether the table's own job, or a sample job of its experiment, would get other parameters now, code digests aside."""
    _, experiment, *_ = maker(table)
    for stage in plan.stages(experiment):
        entries, _ = records.read(ROOT, stage)
        first = next((p for p in sorted(entries) if (key := maker(p)) and key[0] == "sample"), None)
        for path in {first, table} & set(entries):
            then = accepted.payload_of(entries[path].record["params"])
            now = json.loads(plan.payload(*maker(path)))
            if {**then, "code": ""} != {**now, "code": ""}:
                return True
    return False
