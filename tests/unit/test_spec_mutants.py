"""Damaged params.yaml: a plan or one message, and never a traceback, a hang or a memory that grows."""

import copy
import random
import resource
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

from guidelab.costs.graph import jobs_for
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.spec.load import _resolve, load_spec, spec_of
from guidelab.spec.mistakes import LINE_CHARS, PRINTED
from guidelab.spec.reading import read_yaml

ROOT = Path(__file__).parents[2]
SEED, STRUCTURED, TEXTS = 20260129, 1000, 200
CPU_S, EACH_S, GROWTH_KB = 30, 10, 600_000  # of each of the two tests; of one mutant
BASES = ("toy2d_ci", "fashion_ci", "imagenet256", "cifar10", "imagenet64")
VALUES = (
    None, True, False, 0, 1, -1, -0.0, 0.0, 0.5, 3, 10**9, 2**31, 2**64, 10**40, 1e-320, 1e308, float("nan"),
    float("inf"), "", "0400", "1:30", "yes", "0-4", "9-0", "0-99999999999", "none", "main", "reference", "train", "$\\foo{$",
    "os:system", "plugins.../../x:y", "../../etc", "a" * 5000, "cfg/w2.00", "w1.00", "\x1b[2J", [], {}, [[]], [0, 0],
    ["none", "none"], {"name": "toy"}, {"name": "edm2"}, {"extends": "toy2d"}, [1] * 3000, {"a": {"b": {"c": 1}}},
)  # fmt: skip
TOKENS = (
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "<<: ",
    "? ",
    "- ",
    ": ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "0x1f",
    "%",
    "\n",
)


def places(value, trail=()):
    """Every place in nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*trail, key)
        yield from places(inner, (*trail, key))


def at(value, trail):
    for key in trail:
        value = value[key]
    return value


def damage(raw, others, rng):
    """Change one place: another value, a key less, a key more, a value from elsewhere."""
    *trail, key = rng.choice(list(places(raw)))
    parent, how = at(raw, trail), rng.randrange(10)
    if how == 0:
        del parent[key]
    elif how == 1 and isinstance(parent, dict):
        parent[rng.choice([f"{key}x", "x_costs", str(key).upper(), "", "nimg"])] = parent.pop(key)
    elif how == 2 and isinstance(parent, list):
        parent += copy.deepcopy(parent) * rng.choice([1, 50])
    elif how == 3:
        other = rng.choice(others)
        parent[key] = copy.deepcopy(at(other, rng.choice(list(places(other)))))
    elif how == 4 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = parent[key] * rng.choice([-1, 0, 0.5, 2, 3, 1000, 10**6])
    elif how in (5, 6) and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = (
            parent[key] + rng.choice([1, 2, 8]) if isinstance(parent[key], int) else parent[key] * 1.01
        )
    elif how in (7, 8) and isinstance(parent[key], list | dict) and len(parent[key]) > 1:
        items = list(parent[key].items() if isinstance(parent[key], dict) else parent[key])
        rng.shuffle(items)  # in another order, or one less
        parent[key] = type(parent[key])(items[rng.randrange(2) :])
    else:
        parent[key] = copy.deepcopy(rng.choice(VALUES))


def outcome(load):
    """`plan` when all jobs can be planned, `refused` with one message that is short."""
    signal.setitimer(signal.ITIMER_VIRTUAL, EACH_S)
    try:
        spec = load()
        plan = Plan(spec)
        for name in spec.experiments:
            for node in jobs_for(plan, [name], lambda path: False):
                node.job.payload("")
        return "plan"
    except UserError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= PRINTED + 1, len(lines)
        assert all(len(line) <= LINE_CHARS + 200 for line in lines), max(lines, key=len)
        assert "\x1b" not in str(error)
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@pytest.fixture
def watched(monkeypatch, capsys):
    """In the project's folder, with a limit of processor time for each mutant: reports a tally, with the time and memory of all."""
    monkeypatch.chdir(ROOT)

    def hangs(*_):
        raise TimeoutError(f"more than {EACH_S} s of processor time")

    def tally(name, found):
        took = time.process_time() - started
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size
        planned, refused = found.count("plan"), found.count("refused")
        with capsys.disabled():  # to standard error, which parallel workers share
            print(
                f"\n{name}: seed {SEED}, {len(found)} mutants, {planned} planned, {refused} refused, {took:.1f} s, "
                f"{grown / 1000:.0f} MB more",
                file=sys.stderr,
            )
        assert refused > len(found) // 2 and planned > 0 and planned + refused == len(found)
        assert took < CPU_S and grown < GROWTH_KB

    before = signal.signal(signal.SIGVTALRM, hangs)
    started, size = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield tally
    signal.signal(signal.SIGVTALRM, before)


def whole(experiment):
    return {"default": ["mine"], "experiments": {"mine": experiment}}


def test_a_damaged_structure_gives_a_plan_or_one_message(watched):
    rng = random.Random(SEED)
    written, known = read_yaml("params.yaml")["experiments"], {}
    bases = [copy.deepcopy(_resolve(name, written, known)) for name in BASES]
    for name, base in zip(BASES, bases, strict=True):
        base["paper"] |= {"published_experiment": name}
        assert outcome(lambda base=base: spec_of(whole(base), "params.yaml")) == "plan"
    found = []
    for i in range(STRUCTURED):
        one = copy.deepcopy(bases[i % len(bases)])
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            damage(one, bases, rng)
        raw = whole(one)
        if rng.random() < 0.05:
            damage(raw, bases, rng)
        try:
            found.append(outcome(lambda raw=raw: spec_of(raw, "params.yaml")))
        except Exception as error:
            raise AssertionError(f"mutant {i} of seed {SEED}") from error
    assert len(found) == STRUCTURED
    watched("structures", found)


def test_a_damaged_text_gives_a_plan_or_one_message(watched, tmp_path):
    rng, path = random.Random(SEED), tmp_path / "params.yaml"
    written = read_yaml("params.yaml")["experiments"]
    small = whole(_resolve("toy2d_ci", written, {}))
    text, found = yaml.safe_dump(small, sort_keys=False), []
    for i in range(TEXTS):
        lines = text.splitlines(keepends=True)
        for _ in range(rng.choice([1, 1, 2, 5])):
            n = rng.randrange(len(lines))
            line, how = lines[n], rng.randrange(6)
            cut = rng.randrange(len(line) + 1)
            lines[n] = (
                "", line * 2, line[:cut] + rng.choice(TOKENS) + line[cut:], line[:cut], f"  {line}",
                line[:cut] + chr(rng.choice([0, 9, 27, 34, 123, 255, 0x2028, 0x1F600])) + line[cut:],
            )[how]  # fmt: skip
        path.write_text("".join(lines), encoding="utf-8")
        try:
            found.append(outcome(lambda: load_spec(path)))
        except Exception as error:
            raise AssertionError(f"mutant {i} of seed {SEED}") from error
    assert len(found) == TEXTS
    watched("texts", found)
