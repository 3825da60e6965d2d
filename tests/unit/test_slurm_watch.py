"""The wrapper between the executor and Slurm: no job is lost, no wait is silent. And the queries of Slurm."""

import asyncio
import sys
import types

import pytest

from guidelab.runtime import running
from guidelab.runtime.slurm import orphans, queue, site, stops, watch
from guidelab.runtime.slurm.queue import Queued


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def made(monkeypatch):
    """A watch whose Slurm answers what the test wants: `answers` are given one by one."""
    answers, printed, clock = [], [], Clock()

    async def ask(command, logger):
        return answers.pop(0)

    monkeypatch.setattr(watch, "queue", lambda *more: [])
    return watch.Watch(ask, 600.0, printed.append, clock, again_s=0.0), answers, printed, clock


def states(made, *answers, command="squeue"):
    """The last states the executor gets, after all prepared answers were used."""
    made[1].extend(answers)
    while made[1]:
        found = asyncio.run(made[0].query(command, None))[0]
    return found


def test_without_an_answer_no_job_is_dropped_and_a_warning_is_printed(made):
    """The executor drops what it gets no dictionary for; an empty one keeps all."""
    w, _, printed, clock = made
    w.expect(["1", "2"])
    assert states(made, (None, None)) == {}
    assert len(printed) == 1 and "2 jobs" in printed[0] and "not answered" in printed[0]
    clock.now = 300.0
    assert states(made, (None, None)) == {} and len(printed) == 1
    clock.now = 601.0
    assert states(made, (None, None)) == {} and "10 minutes" in printed[-1]
    assert states(made, ({"1": "RUNNING", "2": "COMPLETED"}, 0.1)) == {"1": "RUNNING", "2": "COMPLETED"}
    assert printed[-1] == "Slurm answers again"


@pytest.mark.parametrize(("state", "acted"), [("PREEMPTED", "CANCELLED"), ("NODE_FAIL", "FAILED")])
def test_a_state_the_executor_would_wait_on_for_ever_is_accepted_at_the_second_answer(made, state, acted):
    made[0].expect(["7"])
    assert states(made, ({"7": state}, 0.1), (None, None)) == {"7": "PENDING"}
    assert states(made, ({"7": state}, 0.1)) == {"7": acted}
    assert f"job 7 is {state}" in made[2][-1]


def test_a_requeued_job_is_left_alone(made):
    made[0].expect(["7"])
    seen = [({"7": state}, 0.1) for state in ("PREEMPTED", "PENDING", "PREEMPTED", "RUNNING")]
    assert states(made, *seen) == {"7": "RUNNING"}
    assert made[2] == []


def test_cancelled_by_a_user_is_cancelled(made):
    made[0].expect(["7"])
    assert states(made, ({"7": "CANCELLED by 1000"}, 0.1)) == {"7": "CANCELLED"}


def test_a_forgotten_job_is_decided_by_its_files(made):
    """UNKNOWN is what the executor takes for finished; Snakemake then looks for the outputs."""
    made[0].expect(["7", "8"])
    found = states(made, ({"8": "RUNNING"}, 0.1), ({"8": "RUNNING"}, 0.1))
    assert found == {"7": "UNKNOWN", "8": "RUNNING"}
    assert "forgotten job 7" in made[2][-1]


def test_a_new_job_that_sacct_does_not_list_yet_is_not_lost(made):
    made[0].expect(["7"])
    assert states(made, ({}, 0.1), ({}, 0.1), ({}, 0.1), command="sacct -X") == {}
    states(made, ({"7": "RUNNING"}, 0.1), command="sacct -X")
    assert states(made, ({}, 0.1), command="sacct -X") == {"7": "PENDING"}
    assert states(made, ({}, 0.1), command="sacct -X") == {"7": "UNKNOWN"}


def test_a_wait_for_an_unusual_reason_is_reported_with_the_reason(made, monkeypatch):
    w, _, printed, clock = made
    held = Queued("7", "PENDING", "PartitionTimeLimit", "0:00", "/x", "rule_train_wildcards_toy2d_main")
    monkeypatch.setattr(watch, "queue", lambda *more: [held])
    w.expect(["7"])
    states(made, ({"7": "PENDING"}, 0.1))
    clock.now = 599.0
    states(made, ({"7": "PENDING"}, 0.1))
    assert printed == []
    clock.now = 600.0
    states(made, ({"7": "PENDING"}, 0.1))
    assert len(printed) == 1 and "PartitionTimeLimit" in printed[0] and "train toy2d_main" in printed[0]
    states(made, ({"7": "PENDING"}, 0.1))
    assert len(printed) == 1  # not at every look
    clock.now = 700.0
    states(made, ({"7": "RUNNING"}, 0.1))
    clock.now = 1299.0
    states(made, ({"7": "RUNNING"}, 0.1))
    assert len(printed) == 1  # the last news are of 700


def test_the_executor_has_what_is_replaced():
    """Of the pinned version: the function its module asks with, and the generator that is given all active jobs."""
    import inspect

    import snakemake_executor_plugin_slurm as plugin

    assert inspect.iscoroutinefunction(plugin.query_job_status)
    assert inspect.isasyncgenfunction(plugin.Executor.check_active_jobs)
    assert "query_job_status(" in inspect.getsource(plugin.Executor.check_active_jobs)


def test_another_version_of_the_executor_is_reported_and_left_unchanged(monkeypatch, capsys):
    other = types.ModuleType(watch.PLUGIN)
    monkeypatch.setitem(sys.modules, watch.PLUGIN, other)
    watch.mend()
    assert "another version" in capsys.readouterr().err and not hasattr(other, "query_job_status")


def test_the_executor_queries_slurm_through_the_watch(monkeypatch):
    plugin = types.ModuleType(watch.PLUGIN)

    async def query_job_status(command, logger):
        return None, None

    class Executor:
        async def check_active_jobs(self, active_jobs):
            found, _ = await plugin.query_job_status("squeue", None)
            if found is not None:
                for job in active_jobs:
                    yield job

    plugin.query_job_status, plugin.Executor = query_job_status, Executor
    jobs = [types.SimpleNamespace(external_jobid="1"), types.SimpleNamespace(external_jobid="2")]

    async def kept():
        return [job async for job in plugin.Executor().check_active_jobs(jobs)]

    assert asyncio.run(kept()) == []  # what the plugin does: all are lost
    monkeypatch.setitem(sys.modules, watch.PLUGIN, plugin)
    watch.mend()
    watch.mend()  # once is enough
    assert asyncio.run(kept()) == jobs


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1-00:00:10", 86410), ("5:00", 300), ("0:07", 7), ("2:00:00", 7200), ("UNLIMITED", None), ("", None)],
)
def test_times_are_read_as_slurm_writes_them(text, wanted):
    assert queue.seconds(text) == wanted


def test_only_jobs_of_this_folder_are_orphans(tmp_path):
    def job(number, folder, comment):
        return Queued(number, "PENDING", "Priority", "0:00", str(folder), comment)

    link = tmp_path / "link"
    (tmp_path / "here").mkdir()
    link.symlink_to(tmp_path / "here")
    jobs = [
        job("1", tmp_path / "here", "rule_train_wildcards_toy2d_main"),
        job("2", tmp_path / "elsewhere", "rule_train"),
        job("3", tmp_path / "here", "(null)"),  # another job of the user
        job("4", link, "rule_sample"),
    ]
    left = orphans.orphans(jobs, tmp_path / "here")
    assert [j.number for j in left] == ["1", "4"]
    assert "scancel 1 4" in orphans.message(left) and "train toy2d_main" in orphans.message(left)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"SLURM_JOB_ID": "5", "GUIDELAB_SUBMITTED_FROM": "login"}, "5"),
        ({"SLURM_JOB_ID": "5", "GUIDELAB_SUBMITTED_FROM": "4"}, "5"),
        ({"SLURM_JOB_ID": "5", "GUIDELAB_SUBMITTED_FROM": "5"}, ""),  # Snakemake runs in this allocation
        ({"SLURM_JOB_ID": "5"}, ""),  # a command by hand, in an allocation
        ({"GUIDELAB_SUBMITTED_FROM": "login"}, ""),
    ],
)
def test_only_jobs_of_the_executor_requeue_themselves(environ, wanted):
    assert running.submitted(environ) == wanted


@pytest.mark.parametrize(
    ("state", "asked"), [("RUNNING", True), ("COMPLETING", False), ("CANCELLED", False), ("", False)]
)
def test_a_job_that_slurm_ends_anyway_is_not_requeued(monkeypatch, state, asked):
    called = []
    monkeypatch.setattr(queue, "state_of", lambda job: state)
    monkeypatch.setattr(queue, "requeue", lambda job: called.append(job) or True)
    assert stops.again("5") is asked and bool(called) is asked


@pytest.mark.parametrize(
    ("age", "sacct", "wanted"),
    [("3600 sec", "", "squeue"), ("30 sec", "", "sacct"), ("30 sec", None, "squeue"), (None, "", "squeue")],
)
def test_sacct_is_used_only_where_it_answers_and_squeue_drops_jobs(monkeypatch, age, sacct, wanted):
    monkeypatch.setattr(site, "config", lambda name: age)
    monkeypatch.setattr(site, "ask", lambda *command: sacct)
    assert site.status_command({}) == wanted
    assert site.status_command({"GUIDELAB_SLURM_STATUS": "sacct"}) == "sacct"


def test_a_wrong_setting_is_refused_with_its_name():
    with pytest.raises(SystemExit, match="GUIDELAB_SLURM_STATUS=qstat"):
        site.status_command({"GUIDELAB_SLURM_STATUS": "qstat"})
    with pytest.raises(SystemExit, match="GUIDELAB_SLURM_JOBS=many"):
        site.number("GUIDELAB_SLURM_JOBS", 100, {"GUIDELAB_SLURM_JOBS": "many"})
