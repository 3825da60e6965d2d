"""Lines that run: what jobs of ImageNet execute, jobs of Fashion-MNIST execute as well, and every digest holds what its job executes.

test_reach.py compares the modules that jobs can reach; this compares the lines of functions that their smallest forms run.
"""

import gc
import inspect
import json
import shutil
import sys
import threading
from collections import defaultdict
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest
from tree import ROOT

from guidelab.accept.choice import chosen_names, options
from guidelab.digest import _NO_NUMBERS, reachable
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES, maker
from guidelab.spec.load import load_spec

pytestmark = pytest.mark.slow
SRC = ROOT / "src/guidelab"
COMPARED = ("train", "sample", "extract", "measure")
POINTS = ("train", "sample", "density", "field", "measure", "diverge", "diverge_null")
OWN = (  # nets, codecs, chain samplers and importers: what the two do not share by design
    "nets/", "checkpoints/", "autoencoder.py", "core/latents.py", "core/chain.py", "core/samplers/chain.py",
    "core/hybrid_loss.py", "sampling/latents.py", "sampling/discrete.py", "sampling/codecs.py",
)  # fmt: skip


class Lines:
    """Collects the lines of functions in src/guidelab that run; `with` starts and ends it."""

    def __init__(self):
        self.found = defaultdict(set)  # path below src/guidelab -> line numbers
        self._of = {}  # code object -> the set its lines go to, and all its lines; None: not looked at

    def _called(self, frame, event, arg):
        code = frame.f_code
        if code not in self._of:
            path = Path(code.co_filename)
            ours = code.co_flags & inspect.CO_OPTIMIZED and path.is_relative_to(
                SRC
            )  # bodies of modules: imports
            name = path.relative_to(SRC).as_posix() if ours else ""
            wanted = {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
            self._of[code] = (self.found[name], wanted) if ours else None
        known = self._of[code]
        return self._line if known and not known[1] <= known[0] else None

    def _line(self, frame, event, arg):
        if event == "line":
            self._of[frame.f_code][0].add(frame.f_lineno)
        return self._line

    def __enter__(self):
        threading.settrace(self._called)
        sys.settrace(self._called)

    def __exit__(self, *_):
        sys.settrace(None)
        threading.settrace(None)


def in_order(plan, experiment, rules):
    """One job of each rule and set of options, after the jobs it needs; and which of all are compared."""
    order, compared, names = {}, {}, chosen_names(plan.experiment(experiment).spec)

    def need(key):
        if key not in order:
            for made_by in filter(None, map(maker, plan.job(*key).files)):
                need(tuple(made_by))
            order[key] = True

    for rule in rules:
        for key in ((rule, experiment, *rest) for rest in plan.experiment(experiment).planned(rule)):
            kind = json.dumps(options(json.loads(plan.payload(*key)), names), sort_keys=True)
            compared.setdefault((rule, kind), key)
    for key in compared.values():
        need(key)
    return list(order), set(compared.values())


def executed(plan, experiment, rules):
    """Run an experiment's jobs in this process; the lines that the compared ones execute, by job and file."""
    found = {}
    order, compared = in_order(plan, experiment, rules)
    for key in order:
        job, payload, lines = plan.job(*key), json.loads(plan.payload(*key)), Lines()
        run = import_module(f"guidelab.jobs.{RULES[key[0]].entry}").run
        gc.collect()  # readers of an earlier job are closed now, and not while the next one is watched
        with lines if key in compared else nullcontext():
            run(payload, [Path(path) for path in job.outputs])
        found |= {key: lines.found} if key in compared else {}
    return found


def together(jobs):
    """The lines of all jobs, by file."""
    found = defaultdict(set)
    for lines in jobs.values():
        for path, of_file in lines.items():
            found[path] |= of_file
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("executed")
    shutil.copy(ROOT / "params.yaml", root)
    (root / "workflow").symlink_to(ROOT / "workflow")
    (root / "src").symlink_to(ROOT / "src")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        plan = Plan(load_spec(root / "params.yaml"))
        rules = {"toy2d_ci": POINTS, "fashion_ci": COMPARED, "imagenet256_smoke": COMPARED}
        yield plan, {name: executed(plan, name, chosen) for name, chosen in rules.items()}


def test_the_digest_of_a_job_holds_every_module_whose_functions_it_executes(found):
    """Names are resolved while a job runs, which no walk over imports sees: a builder lists their modules."""
    plan, experiments = found
    for key, lines in ((key, lines) for jobs in experiments.values() for key, lines in jobs.items()):
        job = plan.job(*key)
        held = {*reachable(RULES[key[0]].entry, job.modules), *_NO_NUMBERS}
        ran = {f"guidelab.{path.removesuffix('.py').replace('/', '.')}" for path, of in lines.items() if of}
        missed = {module for module in ran - held if not module.endswith("__init__")}
        assert len(ran) > 5 and not missed, (key, sorted(missed))


def test_imagenet_executes_the_lines_that_fashion_mnist_executes(found):
    """Of 1,492 lines 205 were ImageNet's alone when this was written: an own copy of a loop of 20 lines is too much."""
    ours, theirs = (together(found[1][name]) for name in ("fashion_ci", "imagenet256_smoke"))
    shared = {path: lines for path, lines in theirs.items() if not path.startswith(OWN)}
    apart = {path: sorted(lines - ours[path]) for path, lines in shared.items() if lines - ours[path]}
    total, missed = sum(map(len, shared.values())), sum(map(len, apart.values()))
    assert total > 1000 and missed <= 0.15 * total, (
        f"{missed} of {total} lines that imagenet256_smoke executes are not executed by fashion_ci: {apart}"
    )
