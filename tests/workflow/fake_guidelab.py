"""A stand-in for `guidelab` that takes milliseconds: every file it writes is a hash of all its job was given.

So a file changes exactly when something changes that may change it, and the log says which jobs ran. Manifests are
written by the real code.
"""

import csv
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from rule_of import rule_of


def main() -> None:
    words = sys.argv[1:]
    rule, given = rule_of(words), sys.stdin.read()
    outputs = [word for word in words[words.index("--output") + 1 :] if word.startswith("results/")]
    if rule == os.environ.get("FAKE_GUIDELAB_WAIT"):
        wait(rule, outputs)
    if rule == os.environ.get("FAKE_GUIDELAB_FAIL"):
        sys.exit(f"{rule} was told to fail")
    with open(os.environ["FAKE_GUIDELAB_LOG"], "a") as log:
        log.write(f"{rule} {outputs[0]}\n")
    if rule == "manifest":
        from guidelab.provenance import write_manifest

        stage = json.loads(given)
        write_manifest(outputs[0], stage["files"], stage["outs"], stage["keep"])
        return
    job = json.loads(given)
    inputs = [path for paths in job["inputs"].values() for path in paths]
    seen = hashlib.sha256(json.dumps({**job, "code": ""}, sort_keys=True).encode())
    for path in inputs:
        seen.update(Path(path).read_bytes())
    for path in outputs:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(Path(path), int(seen.hexdigest()[:8], 16) / 2**32)


def wait(rule: str, outputs: list[str]) -> None:
    """Run, as a real job does, while the file `jobs.log.wait` exists."""
    from guidelab.runtime.running import hold, name_of

    with hold(name_of(outputs), "job", f"{rule} {outputs[0]}"):
        while Path(os.environ["FAKE_GUIDELAB_LOG"] + ".wait").exists():
            time.sleep(0.05)


def write(path: Path, number: float) -> None:
    """A number in the clothes of the file that is wanted."""
    if path.name == "metrics.json":
        path.write_text(json.dumps({"autog_js": number, "autog_w": 2.0}))
    elif path.name == "sweep.csv":
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["variant", "metric", "w", "offset", "value", "lo", "hi"])
            rows.writerows([["autog", "js", 1 + x, x, number + x, number, number + 1] for x in (0, 1, 2)])
    else:
        path.write_text(f"{path} {number}\n")


main()
