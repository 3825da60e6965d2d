"""Run one job: check its inputs, lock its outputs, call its module; several processes may share it."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from guidelab.cli.commands import load_plan
from guidelab.cli.trace import code_now
from guidelab.environment import whole
from guidelab.errors import UserError
from guidelab.plan.rules import RULES
from guidelab.provenance.code import refuse_other_code
from guidelab.runtime.claim import claimed, held, taken_over
from guidelab.runtime.noted import noted
from guidelab.runtime.planned import planned


def run_job(rule: str, job: dict[str, Any], outputs: list[Path]) -> None:
    """Check that the inputs are there, then run a job's module; no other process makes the same outputs meanwhile.

    Raises:
        UserError: an input is absent, the code is not the one the job was planned with, another process is running, or
            the module says what is wrong.
    """
    for label, paths in job["inputs"].items():
        for path in paths:
            if not Path(path).is_file():
                raise UserError(
                    f"{path}: no such file, wanted as {label!r} of {rule}. Build it with: snakemake -c2 {path}"
                )
    refuse_other_code(rule, job, lambda: code_now(outputs))
    module = RULES[rule].entry
    if RULES[rule].shares_gpus and _divisible(module, job, outputs) and (count := processes()) > 1:
        with held(rule, outputs):
            if taken_over(job, outputs):
                return
        share(rule, job, outputs, count)
    with claimed(rule, job, outputs) as wanted:
        if wanted:
            with planned(rule, job, outputs), noted(job, outputs):
                import_module(f"guidelab.jobs.{module}").run(job, outputs)


def _divisible(module: str, job: Mapping[str, Any], outputs: Sequence[Path]) -> bool:
    """Whether several processes may do the job: samples in a single file have one writer.

    A training on points is short: processes that wait for each other repay only where the user says how many.
    """
    if module == "sample":
        return outputs[0].suffix == ".json"
    return job["examples"] == "images" or bool(os.environ.get("GUIDELAB_PROCESSES"))


def processes() -> int:
    """How many processes share a job: `GUIDELAB_PROCESSES`, else one for each GPU; 1 in a process that shares already.

    Raises:
        UserError: the variable holds no such number.
    """
    if "RANK" in os.environ:
        return 1
    if os.environ.get("GUIDELAB_PROCESSES"):
        return whole("GUIDELAB_PROCESSES", 1)
    if os.environ.get("GUIDELAB_DEVICE"):
        return 1
    import torch

    return torch.cuda.device_count()


def share(rule: str, job: Mapping[str, Any], outputs: Sequence[Path], count: int) -> None:
    """Replace this process by `count` torchrun workers that share the job.

    They get the job as an argument, for each would read all of a standard input: a job of one point is short.
    """
    command = sharing(rule, count, int(os.environ.get("OMP_NUM_THREADS", "1")))
    os.execv(sys.executable, [*command, "--job", json.dumps(job), "--output", *map(str, outputs)])


def sharing(rule: str, count: int, threads: int) -> list[str]:
    """The beginning of the command that runs a job in `count` processes; `--job` and `--output` follow."""
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return [sys.executable, *run, "-m", "guidelab.cli.app", rule, "--threads", str(threads)]


def execute(
    rule: str, names: list[str], job: str | None, output: list[Path], params: Path, threads: int
) -> None:
    """Run a job given as JSON with its outputs, or by its names in params.yaml.

    Raises:
        UserError: neither is complete.
    """
    from guidelab.cli.runtime import limit_threads

    limit_threads(threads)
    if job is not None:
        # `-o a b c`: the shell gives the first to -o and the rest as names
        payload, targets = parse_job(job), [*output, *(Path(name) for name in names)]
        if not output:
            raise UserError(f"guidelab {rule}: --job needs --output and takes no names; given names {names}")
    else:
        known = RULES[rule]
        if len(names) != len(known.wildcards):
            raise UserError(
                f"guidelab {rule}: given {len(names)} names, wanted {len(known.wildcards)}: {known.metavar} "
                f"(for example: guidelab {rule} {known.examples[0]})"
            )
        plan = load_plan(params)
        found = plan.job(rule, *names)
        payload, targets = (
            json.loads(plan.payload(rule, *names)),
            [Path(p) for p in found.outputs],
        )
    run_job(rule, payload, targets)


def parse_job(text: str) -> dict[str, Any]:
    """A job's JSON; `-` stands for what is on standard input, since an argument of a command is limited to 128 KiB.

    Raises:
        UserError: not JSON, or not an object with `inputs`.
    """
    try:
        job = json.loads(sys.stdin.read() if text == "-" else text)
    except json.JSONDecodeError as error:
        raise UserError(f"--job: is not JSON ({error}); see `guidelab job RULE NAMES...`") from error
    if not isinstance(job, dict) or not isinstance(job.get("inputs"), dict):
        raise UserError("--job: wanted a JSON object with `inputs`; see `guidelab job RULE NAMES...`")
    return job
