"""Which jobs `guidelab accept` can replay: inputs as recorded, or made again by the old code; all others are named."""

import subprocess

import pytest

from guidelab.accept.changes import Change
from guidelab.accept.choice import Group
from guidelab.accept.estimate import Candidate
from guidelab.accept.history import History
from guidelab.accept.parts import WHOLE
from guidelab.accept.ready import Ready, candidates
from guidelab.accept.selection import within
from guidelab.errors import UserError
from guidelab.provenance.disk import sha256

DATA, MODEL, SAMPLE = "results/e/data/train.csv", "results/e/models/a.csv", "results/e/samples/a.csv"


class Found:
    """A history in which only the old code of some jobs is found."""

    def __init__(self, *names):
        self.names = names

    def of(self, jobs, old, earlier):
        return {job.name: "c0" for job in jobs if job.name in self.names}


@pytest.fixture
def files(tmp_path):
    for path in (DATA, MODEL, SAMPLE):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(path)
    return {path: sha256(tmp_path / path) for path in (DATA, MODEL, SAMPLE)}


def job(files, path, *reads, fed=True, now=None):
    payload = {"code": "old", "inputs": {"x": list(reads)}}
    planned = {**payload, "code": "new", **(now or {})}
    return Change("s", "r", "r", {path: files[path]}, {p: files[p] for p in reads}, payload, planned, fed)


@pytest.fixture
def jobs(files):
    return [job(files, DATA), job(files, MODEL, DATA), job(files, SAMPLE, MODEL)]


def ready(root, jobs, *found, old=None):
    made = Ready(root, Found(*(found or (one.name for one in jobs))), old, jobs, [])
    made.look_for(jobs[-1:])
    return made


def test_absent_inputs_are_made_again_each_after_what_it_reads(tmp_path, jobs):
    assert ready(tmp_path, jobs).first(jobs[-1]) == []
    (tmp_path / MODEL).unlink()
    assert ready(tmp_path, jobs).first(jobs[-1]) == [jobs[1]]
    (tmp_path / DATA).unlink()
    assert ready(tmp_path, jobs).first(jobs[-1]) == [jobs[0], jobs[1]]


def why_not(root, jobs, *found, old=None):
    with pytest.raises(UserError) as caught:
        ready(root, jobs, *found, old=old).first(jobs[-1])
    return str(caught.value)


def test_what_cannot_be_replayed_is_named_with_the_reason(tmp_path, files, jobs):
    assert (
        why_not(tmp_path, jobs, DATA, old="v1")
        == f"the code and parameters that made {SAMPLE} are not those of v1"
    )
    fed = [*jobs[:2], job(files, SAMPLE, MODEL, fed=False)]
    assert "was made from other inputs than those recorded now" in why_not(tmp_path, fed)
    (tmp_path / MODEL).write_text("changed")
    assert why_not(tmp_path, jobs) == f"its input {MODEL} is not what its job wrote"


def test_an_absent_input_that_cannot_be_made_again_is_named_with_the_reason(tmp_path, files, jobs):
    (tmp_path / MODEL).unlink()
    assert f"{MODEL} is not here, and no record says how it was made" in why_not(tmp_path, [jobs[0], jobs[2]])
    assert f"the code and parameters that made {MODEL} are not those of" in why_not(tmp_path, jobs, SAMPLE)
    (tmp_path / DATA).write_text("changed")
    said = why_not(tmp_path, jobs)
    assert (
        f"its input {MODEL} is not here (dvc pull {MODEL})" in said
        and f"{DATA} is not what its job wrote" in said
    )
    other = [jobs[0], job({**files, MODEL: "0"}, MODEL, DATA), jobs[2]]
    assert "no record says how it was made" in why_not(tmp_path, other), (
        "another file than the one that was read"
    )


def test_a_kind_with_absent_inputs_costs_their_jobs_as_well_and_is_compared_whole(tmp_path, files, jobs):
    train = {"train": {"nimg": 8, "snapshot_nimg": 4, "batch": 1}}
    jobs[2] = job(files, SAMPLE, MODEL, now=train)
    jobs[2].ran.update(train)
    (tmp_path / MODEL).unlink()
    (tmp_path / SAMPLE).unlink()
    group, known = Group(("old", "new"), "{}", [jobs[2]]), {MODEL: 40.0, SAMPLE: 2.0}
    (one,), left = candidates("e", ready(tmp_path, jobs), [group], [], known)
    assert not left and one.seconds == 42.0 and one.first == [jobs[1]] and one.parts[0].kind == WHOLE


def test_a_job_whose_inputs_are_here_is_replayed_rather_than_a_cheaper_one_without(tmp_path, files):
    here, cheap = (
        job(files, SAMPLE, DATA),
        job({**files, "results/e/samples/b.csv": "1"}, "results/e/samples/b.csv", MODEL),
    )
    makers = [job(files, MODEL, DATA), cheap, here]
    (tmp_path / MODEL).unlink()
    group = Group(("old", "new"), "{}", [cheap, here])
    made = Ready(tmp_path, Found(MODEL, cheap.name, here.name), None, makers, [])
    made.look_for([cheap, here])
    (one,), _ = candidates("e", made, [group], [], {})
    assert [part.change for part in one.parts] == [here] and not one.first


def test_inputs_are_made_again_only_where_there_is_time_and_those_kinds_are_named(files, jobs):
    group = Group(("old", "new"), "{}", [jobs[2]])
    plain, costly = (Candidate("e", group, [], 30.0, first=first) for first in ([], [jobs[1]]))
    said = []
    assert within([plain, costly], 2.0, said.append) == ([plain, costly], {})
    kept, late = within([plain, costly], 0.5, said.append)
    assert kept == [plain] and f"{MODEL} is not here (dvc pull {MODEL})" in late[id(costly)]
    assert said[0].startswith("replays 2 of 2 kinds of jobs, about 1.0 minutes")


def test_the_code_of_an_earlier_acceptance_is_found_however_many_commits_came_since(
    tmp_path, jobs, monkeypatch
):
    """The record keeps the digest that ran first, so every acceptance of a long history needs the same old commit."""
    monkeypatch.setattr("guidelab.accept.history.SEARCHED", 2)

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    commits = []
    for number in range(4):
        (tmp_path / "params.yaml").write_text(f"number: {number}\n")
        git("add", "params.yaml")
        git("commit", "-qm", str(number))
        commits.append(git("rev-parse", "HEAD"))
    looked = []

    def plans(self, commit, paths):
        looked.append(commit)
        return dict.fromkeys(paths, jobs[0].ran) if commit == commits[0] else {}

    monkeypatch.setattr(History, "_plans", plans)
    history = History(tmp_path, tmp_path / "old", "params.yaml")
    assert history.of(jobs[:1], None, []) == {} and looked == commits[:1:-1]
    looked.clear()
    assert history.of(jobs[:1], None, [commits[0]]) == {jobs[0].name: commits[0]} and looked == commits[:1]
