"""Fault injection, the short form: seeded kills of jobs, of a job at a write, of Snakemake and of everything at once; the same bytes at the end.

The long one: `make chaos`.
"""

import signal
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "chaos"))

import injection as injecting
from injection import Injection
from plan import LOCAL, SLURM, Kill, draw_kills
from tree_at_risk import end_all, processes

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
    """The kinds in turn, again and again: a kill that comes too late is replaced."""
    for number, kill in enumerate(draw_kills(seed)):
        kind, at, start = KINDS[number % len(KINDS)]
        yield replace(kill, kind=kind, signal=at, start=start, moment=kill.moment / 4, patient=False)


def test_the_same_kills_for_the_same_seed():
    first = list(islice(draw_kills(7), 50))
    assert first == list(islice(draw_kills(7), 50))
    assert first != list(islice(draw_kills(8), 50))
    for kinds in (LOCAL, SLURM):
        assert {kill.kind for kill in islice(draw_kills(7, kinds), 200)} == set(kinds)
    assert isinstance(first[0], Kill)


def test_nothing_is_lost_under_kills(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(injecting, "draw_kills", few)
    injection = Injection(tmp_path / "tree", "toy2d_ci")
    try:
        injection.run_undisturbed()
        assert list(injection.rounds(len(KINDS), 20))[-1] == len(KINDS)
    finally:
        end_all(injection.tree.root)
    assert injection.tally.kills == len(KINDS) and injection.tally.rounds >= 1
    assert not injection.tally.lost, capsys.readouterr().out
    assert not processes(injection.tree.root)
