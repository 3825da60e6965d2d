"""A short fault-injection run: seeded kills of jobs, of a job at a write, of Snakemake and of all at once; the same bytes at the end.

The long one: `make chaos`.
"""

import signal
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "chaos"))

import storm as storms
from plan import LOCAL, SLURM, Blow, blows
from storm import Storm, end_all
from tree_at_risk import processes

pytestmark = pytest.mark.slow

# One of each kind; the moments within them are drawn from the seed, as in the long form.
KINDS = (
    ("write", signal.SIGKILL, 3),
    ("snakemake", signal.SIGKILL, 1),
    ("job", signal.SIGTERM, 1),
    ("all", signal.SIGKILL, 2),
    ("job", signal.SIGKILL, 1),
)


def few(seed, _kinds):
    """The kinds in turn, again and again: what comes too late is made up for."""
    for number, blow in enumerate(blows(seed)):
        victim, at, start = KINDS[number % len(KINDS)]
        yield replace(blow, victim=victim, signal=at, start=start, moment=blow.moment / 4, patient=False)


def test_the_same_blows_for_the_same_seed():
    first = list(islice(blows(7), 50))
    assert first == list(islice(blows(7), 50))
    assert first != list(islice(blows(8), 50))
    for kinds in (LOCAL, SLURM):
        assert {blow.victim for blow in islice(blows(7, kinds), 200)} == set(kinds)
    assert isinstance(first[0], Blow)


def test_no_result_is_lost_in_a_short_fault_injection_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storms, "blows", few)
    storm = Storm(tmp_path / "tree", "toy2d_ci")
    try:
        storm.still()
        storm.rage(len(KINDS), 20)
    finally:
        end_all(storm.tree.root)
    assert storm.tally.kills == len(KINDS) and storm.tally.rounds >= 1
    assert not storm.tally.lost, capsys.readouterr().out
    assert not processes(storm.tree.root)
