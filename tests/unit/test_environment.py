"""Numbers given through the environment: read, or refused with the variable's name, the value and what was wanted."""

from pathlib import Path

import pytest
import torch

from guidelab.compute.processes import ProcessGroup, process_group
from guidelab.compute.workers import present, wait
from guidelab.environment import seconds, whole
from guidelab.errors import UserError
from guidelab.jobs.extract import _extracted
from guidelab.plan.plan import Plan
from guidelab.plan.resources import needs
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("given", ["abc", "1.5", "0", "-2", "1e3", "inf"])
def test_a_whole_number_is_refused_with_its_variable(given):
    with pytest.raises(UserError, match=rf"GUIDELAB_GPUS={given}: wanted a whole number from 1 on"):
        whole("GUIDELAB_GPUS", 1, environ={"GUIDELAB_GPUS": given})


@pytest.mark.parametrize("given", ["abc", "0", "-2", "nan", "inf", "1h"])
def test_seconds_are_refused_with_their_variable(given):
    with pytest.raises(UserError, match=rf"GUIDELAB_PATIENCE_S={given}: wanted seconds, a number above 0"):
        seconds("GUIDELAB_PATIENCE_S", 3600.0, {"GUIDELAB_PATIENCE_S": given})


def test_what_is_not_set_or_empty_is_the_default():
    assert whole("N", 4, environ={}) == whole("N", 4, environ={"N": " "}) == 4
    assert seconds("S", 2.5, {}) == 2.5
    assert whole("N", 4, environ={"N": " 8 "}) == 8 and seconds("S", 1.0, {"S": "1e2"}) == 100.0


def test_jobs_that_share_gpus(monkeypatch):
    plan = Plan(load_spec(ROOT / "params.yaml"))
    monkeypatch.setenv("GUIDELAB_GPUS", "4")
    assert needs(plan, "sample", "imagenet64").gpu == 4 and needs(plan, "extract", "imagenet64").gpu == 1
    monkeypatch.setenv("GUIDELAB_GPUS", "four")
    with pytest.raises(UserError, match="GUIDELAB_GPUS=four"):
        needs(plan, "sample", "imagenet64")


def test_jobs_at_paper_size_name_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("GUIDELAB_PATIENCE_S", "long")
    with pytest.raises(UserError, match="GUIDELAB_PATIENCE_S=long"):
        wait(tmp_path, [], {}, ProcessGroup(), 0.0)
    with (
        pytest.raises(UserError, match="GUIDELAB_PATIENCE_S=long"),
        present(tmp_path, ProcessGroup(1, 2, 1)),
    ):
        pytest.fail("a process began its shards")
    monkeypatch.setenv("GUIDELAB_EXTRACT_BATCH", "0")
    with pytest.raises(UserError, match="GUIDELAB_EXTRACT_BATCH=0"):
        _extracted(lambda images: None, torch.zeros(1, 3, 4, 4), None, torch.device("cpu"), None)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: wanted a whole number from 1"),
        ({"WORLD_SIZE": "2", "RANK": "x", "LOCAL_RANK": "0"}, "RANK=x: wanted a whole number from 0"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "WORLD_SIZE is 2 but 'LOCAL_RANK' is not set"),
    ],
)
def test_invalid_variables_of_a_launcher_are_named(environ, message):
    with pytest.raises(UserError, match=message):
        process_group(environ)
