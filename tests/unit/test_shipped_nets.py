"""What comes with the project in .dvc/shipped is what dvc.lock names: whole, nothing else, and small."""

import hashlib
import json
from pathlib import Path

import yaml

from guidelab.plan.dvc import shipped
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".dvc/shipped/files/md5"
REFRESH = "dvc commit -f && rm -rf .dvc/shipped && dvc push -r shipped $(guidelab shipped) && git add .dvc/shipped dvc.lock"
MOST_BYTES = 110_000_000


def outs() -> dict[str, str]:
    """Path and hash of every folder and file that dvc.lock names for the stages of dvc.yaml."""
    lock = yaml.load((ROOT / "dvc.lock").read_text(), Loader=yaml.CSafeLoader)["stages"]
    stages = yaml.load((ROOT / "dvc.yaml").read_text(), Loader=yaml.CSafeLoader)["stages"]
    return {out["path"]: out["md5"] for name in stages if name in lock for out in lock[name]["outs"]}


def content(md5: str) -> bytes:
    path = STORE / md5[:2] / md5[2:]
    assert path.is_file(), f"{path} is absent; refresh what comes with the project: {REFRESH}"
    found = path.read_bytes()
    assert hashlib.md5(found).hexdigest() == md5.removesuffix(".dir"), f"{path}: was changed; {REFRESH}"
    return found


def test_the_shipped_files_are_those_that_dvc_lock_names():
    kept, wanted = outs(), set()
    for path in shipped(Plan(load_spec(ROOT / "params.yaml"))):
        out = next(out for out in kept if path == out or path.startswith(f"{out}/"))
        wanted.add(kept[out])
        inside = [
            e for e in json.loads(content(kept[out])) if f"{out}/{e['relpath']}/".startswith(f"{path}/")
        ]
        assert inside, (
            f"dvc.lock knows no {path}; wanted the results of params.yaml, committed with: dvc commit"
        )
        wanted |= {entry["md5"] for entry in inside}
    sizes = sum(len(content(md5)) for md5 in wanted)
    there = {path.parent.name + path.name for path in STORE.rglob("*") if path.is_file()}
    assert there == wanted, f"files that no result names any more: {REFRESH}"
    assert sizes <= MOST_BYTES, f"{sizes} bytes"
