"""Shell lines and names of files that changed: declared in the table, replayed under both names, recorded under the new ones."""

import json
from pathlib import Path

import pytest

from guidelab.accept.changes import changes
from guidelab.accept.judgement import SAME, judge
from guidelab.accept.parts import whole
from guidelab.accept.replay import Replayed, Replays
from guidelab.cli.accept import read_table
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.provenance import accepted, records
from guidelab.provenance.disk import sha256, write_text
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
NEW, OLD = "results/toy2d_ci/data/reference.safetensors", "results/toy2d_ci/folds/reference.safetensors"
TABLE = {"paths": {"results/*/folds/*.safetensors": "results/*/data/*.safetensors"}}
SHELL = "guidelab"


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def record(root, plan, rule, names, outputs, inputs=(), fed=None):
    """A record as older code left it: another digest, files of folds in another folder, the file a text of its name."""
    now = json.loads(plan.payload(rule, "toy2d_ci", *names))
    back = {"paths": {new: old for old, new in TABLE["paths"].items()}}
    ran = {**accepted.translated(now, back, "old")}
    params = [repr(accepted.canonical(ran))]
    told = {"rule": rule, "params": params, "code": SHELL, "input": list(inputs), "log": []}
    return {path: records.Entry(sha, told, fed) for path, sha in outputs.items()}


@pytest.fixture
def tree(tmp_path, plan):
    """A recorded fold, and measurements made from it, in a layout of before."""
    stages = {stage.name: stage for stage in plan.stages("toy2d_ci")}
    write_text(tmp_path / NEW, "fold")
    shas = {OLD: sha256(tmp_path / NEW)}
    run = plan.experiment("toy2d_ci").runs[0]
    names = (*run.point.split("/"), run.part)
    measured, parts = plan.job("measure", "toy2d_ci", *names).outputs
    fed = records.combined([OLD], shas)
    records.write(tmp_path, stages["data"], record(tmp_path, plan, "prepare", ["reference"], shas))
    rows = record(tmp_path, plan, "measure", names, {measured: "11", parts: "12"}, [OLD], fed)
    records.write(tmp_path, stages["measure"], rows)
    return tmp_path, measured


def test_a_declared_layout_gives_the_planned_payloads_under_the_new_names(tree, plan):
    root, measured = tree
    found = changes(plan, "toy2d_ci", root, TABLE, {}, declared=False)
    fold, rows = sorted(found.changed, key=lambda job: job.rule, reverse=True)
    assert (fold.name, fold.was, fold.ran["code"]) == (NEW, {NEW: OLD}, "old") and not found.other
    assert rows.name == measured and rows.was[NEW] == OLD and NEW in rows.files
    assert rows.sources == {NEW: sha256(root / NEW)} and rows.fed is True
    assert found.entries[measured].inputs_sha256 == records.combined([NEW], rows.sources)


def test_a_job_that_makes_another_file_now_is_named_and_never_replayed(tree, plan):
    root, measured = tree
    stages = {stage.name: stage for stage in plan.stages("toy2d_ci")}
    known, _ = records.read(root, stages["measure"])
    parts = next(path for path in known if path != measured)
    records.write(root, stages["measure"], {measured: known[measured]})
    found = changes(plan, "toy2d_ci", root, TABLE, {}, declared=False)
    assert [job.name for job in found.changed] == [NEW]
    assert found.other == {measured: f"its job makes {parts} as well now; it has to run"}


def test_an_undeclared_layout_is_refused(tree, plan):
    with pytest.raises(UserError, match=r"speaks of 'results/toy2d_ci/folds/reference\.safetensors'"):
        changes(plan, "toy2d_ci", tree[0], accepted.NO_TABLE, {}, declared=False)


def test_a_changed_shell_line_that_is_not_declared_is_refused_by_name(tree, plan):
    root, measured = tree
    lines = {"prepare": "guidelab --new", "measure": SHELL}
    found = changes(plan, "toy2d_ci", root, TABLE, lines, declared=False)
    assert found.other == {NEW: "the shell line of rule prepare is another now; --shell accepts it"}
    assert [job.name for job in found.changed] == [measured]
    declared = changes(plan, "toy2d_ci", root, TABLE, lines, declared=True)
    fold = next(job for job in declared.changed if job.name == NEW)
    assert not declared.other and fold.shell == (SHELL, "guidelab --new")


def test_changed_inputs_stay_changed_under_new_names(tree, plan):
    root, measured = tree
    path = root / "results/toy2d_ci/provenance/measure.json"
    content = json.loads(path.read_text())
    content["jobs"][0]["inputs_sha256"] = "0" * 16
    path.write_text(json.dumps(content))
    rows = next(
        job for job in changes(plan, "toy2d_ci", root, TABLE, {}, False).changed if job.name == measured
    )
    assert rows.fed is False


def test_old_code_reads_and_writes_the_old_names(tree, plan, monkeypatch):
    root, measured = tree
    rows = next(
        job for job in changes(plan, "toy2d_ci", root, TABLE, {}, False).changed if job.name == measured
    )
    given = {}

    class Process:
        def __init__(self, *arguments, **more):
            self.stdin = self

        def write(self, text):
            given["tasks"] = json.loads(text)

        def close(self):
            pass

    monkeypatch.setattr("guidelab.accept.replay.subprocess.Popen", Process)
    for old, name in ((True, OLD), (False, NEW)):
        Replays(ROOT, root / f"work{old}", [root], old).start([whole(rows)])
        (task,) = given["tasks"]
        assert (Path(task["folder"]) / name).read_text() == "fold" and task["job"]["code"] == "old"
        assert [name] == task["job"]["inputs"]["reference"]


def test_files_of_both_names_are_compared_with_each_other_and_the_recorded_one(tree, plan):
    root, _ = tree
    fold = next(job for job in changes(plan, "toy2d_ci", root, TABLE, {}, False).changed if job.name == NEW)
    write_text(root / "old" / OLD, "fold")
    for text, why in (("fold", ""), ("other", "another result")):
        write_text(root / "new" / NEW, text)
        replays = Replayed(root / "old", was=fold.was), Replayed(root / "new")
        shown = judge(whole(fold), "commit", *replays, root, None, renamed=True)
        assert why in shown.why and (shown.result == SAME) is not bool(why)


def test_a_ledger_with_a_layout_vouches_for_a_record_under_the_new_name(tree, plan):
    root, _ = tree
    found = changes(plan, "toy2d_ci", root, TABLE, {}, declared=False)
    fold = next(job for job in found.changed if job.name == NEW)
    content = {"jobs": {NEW: accepted.line(fold.ran, fold.now, fold.outputs)}, "table": TABLE, "previous": []}
    ledger = accepted.write(root, "toy2d_ci", content)
    entry = found.entries[NEW]
    about = {"code": fold.codes[1], "ledger": ledger}
    entry = records.Entry(
        entry.sha256, entry.record, None, {"params": entry.record["params"], "code": SHELL}, about
    )
    (stage,) = [stage for stage in plan.stages("toy2d_ci") if stage.name == "data"]
    records.write(root, stage, {NEW: entry})
    entries, complaint = records.read(root, stage)
    assert complaint is None and accepted.payload_of(entries[NEW].record["params"]) == fold.now
    assert accepted.payload_of(entries[NEW].as_ran["params"]) == fold.ran


@pytest.mark.parametrize(
    "given", [{"results/*/a": "results/b"}, {"a": "b"}, {"results/a": "results/../b"}, {"results/a": 1}]
)
def test_a_layout_that_is_none_is_refused(tmp_path, given):
    path = tmp_path / "table.yaml"
    path.write_text(json.dumps({"paths": given}))
    with pytest.raises(UserError, match="as many stars"):
        read_table(path)
