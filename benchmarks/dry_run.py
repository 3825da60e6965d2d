"""`snakemake -n` for a plan of ours against a bare Snakefile with as many jobs of the same shape, in one run.

    python benchmarks/dry_run.py 1000 10000                          # CPU seconds, ratio
    python benchmarks/dry_run.py 10000 --profile                     # where they go: cumulated, by module

Both are `many`: points of one sweep, each sampled, its densities computed, measured; plus what they need, and a manifest for every
stage, which reads all of the stage's files. The bare
Snakefile has, rule by rule, as many jobs, each with as many inputs, outputs, params, resources, threads and one log, and the same shell
command; its input files are looked up in a dict and its params are texts as long as ours, both written to JSON files in its folder before the clock
starts. So it has no plan, no digest of code, no checks, no records to restore: what remains is Snakemake itself.

A minimal Snakefile (one input, one output, one param of a few bytes, no log, no resources) is measured as well.
CPU seconds are user and system of the process and its children; the least of `--repeats`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
CARRIED = ("Snakefile", "src/guidelab", "workflow")


def copy(target: Path, jobs: int) -> list:
    """A copy of the project whose default experiment has about so many jobs; returns them."""
    from guidelab.costs.graph import jobs_for
    from guidelab.plan.job import Job
    from guidelab.plan.plan import Plan
    from guidelab.spec.load import load_spec

    for name in CARRIED:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__", "dvc")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy(source, target / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    weights = [round(1.01 + 0.01 * i, 2) for i in range(max(1, (jobs - 60) // 3))]
    many = {"main": "main", "guide": {"method": "reference", "ref": "blind"}, "weights": weights}
    params["default"] = ["many"]
    kept = {name: params["experiments"][name] for name in ("toy2d", "toy2d_ci")}
    kept["many"] = {"extends": "toy2d_ci", "variants": {"dense": many}}
    (target / "params.yaml").write_text(yaml.safe_dump({**params, "experiments": kept}, sort_keys=False))
    plan = Plan(load_spec(target / "params.yaml"))
    found = [node.job for node in jobs_for(plan, ["many"], exists=lambda path: False)]
    return found + [
        Job({"files": s.files}, {}, rule="manifest", outputs=(s.manifest,)) for s in plan.stages("many")
    ]


def bare(target: Path, jobs: list) -> None:
    """A Snakefile of as many jobs: the same files and texts, nothing of ours."""
    target.mkdir()
    by_rule: dict[str, list] = defaultdict(list)
    for job in jobs:
        by_rule[job.rule].append(job)
    given: dict = {}
    text = [
        "import json",
        "GIVEN = json.load(open('given.json'))",
        "TARGETS = json.load(open('targets.json'))",
    ]
    text += ["rule all:", "    default_target: True", "    input: TARGETS"]
    for rule, mine in by_rule.items():
        shapes = defaultdict(list)
        for job in mine:
            shapes[len(job.outputs)].append(job)
        for n, alike in shapes.items():
            name, table = f"{rule}{n}", {}
            for i, job in enumerate(alike):
                table[str(i)] = [job.files, job.payload("0" * 16)]
            given[name] = table
            text += [
                f"rule {name}:",
                f"    input: lambda w: GIVEN['{name}'][w.i][0]",
                f"    output: {', '.join(repr(f'made/{name}/{{i}}.{k}') for k in range(n))}",
                f"    log: 'logs/{name}/{{i}}.log'",
                "    threads: 1",
                "    resources: mem_mb=lambda w, attempt: 2000 * attempt, runtime=lambda w, attempt: 60 * attempt, gpu=0",
                f"    params: job=lambda w: GIVEN['{name}'][w.i][1]",
                "    shell: 'guidelab run --output {output} --threads {threads} <<< {params.job:q} 2> >(tee {log} >&2)'",
            ]
    renamed = {}
    for rule, mine in by_rule.items():
        seen: dict = defaultdict(int)
        for job in mine:
            n = len(job.outputs)
            for k, path in enumerate(job.outputs):
                renamed[path] = f"made/{rule}{n}/{seen[n]}.{k}"
            seen[n] += 1
    for table in given.values():
        for entry in table.values():
            entry[0] = [renamed[path] for path in entry[0] if path in renamed]
    (target / "given.json").write_text(json.dumps(given))
    (target / "targets.json").write_text(json.dumps(sorted(renamed.values())))
    (target / "Snakefile").write_text("\n".join(text) + "\n")


def minimal(target: Path, count: int) -> None:
    """The least that has as many jobs: a fifth of them feed the others."""
    target.mkdir()
    first = max(1, count // 5)
    (target / "Snakefile").write_text(
        f"rule all:\n    input: expand('b/{{i}}', i=range({count - first}))\n"
        "rule a:\n    output: 'a/{i}'\n    shell: 'touch {output}'\n"
        f"rule b:\n    input: lambda w: f'a/{{int(w.i) % {first}}}'\n    output: 'b/{{i}}'\n    params: n=1\n"
        "    shell: 'touch {output}'\n"
    )


def cpu_seconds(folder: Path, repeats: int) -> float:
    """CPU seconds of a dry run: user and system, the least of several."""
    least = float("inf")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "GUIDELAB"))} | {
        "PYTHONPATH": str(folder / "src")
    }
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["snakemake", "-n", "--quiet", "all"],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def profile(folder: Path) -> None:
    """Print where a dry run of ours spends its time."""
    env = {**os.environ, "PYTHONPATH": str(folder / "src")}
    code = (
        "import cProfile, pstats, sys, time; from snakemake.cli import main; sys.argv = ['snakemake', '-n', '--quiet', 'all']\n"
        "p = cProfile.Profile(time.process_time)\ntry:\n    p.runcall(main)\nexcept SystemExit:\n    pass\n"
        "pstats.Stats(p, stream=sys.stderr).sort_stats('tottime').print_stats(45)\n"
        "pstats.Stats(p, stream=sys.stderr).sort_stats('cumtime').print_stats('guidelab|common.smk|Snakefile|\\.smk', 40)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    print(done.stderr[-14000:])


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("jobs", type=int, nargs="+")
    given.add_argument("--repeats", type=int, default=1)
    given.add_argument("--profile", action="store_true")
    arguments = given.parse_args()
    for wanted in arguments.jobs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            jobs = copy(folder / "ours", wanted)
            if arguments.profile:
                profile(folder / "ours")
                continue
            bare(folder / "bare", jobs)
            minimal(folder / "minimal", len(jobs))
            found = {
                kind: cpu_seconds(folder / kind, arguments.repeats) for kind in ("ours", "bare", "minimal")
            }
        ratio = found["ours"] / found["bare"]
        times = ", ".join(f"{kind} {seconds:.2f} CPU s" for kind, seconds in found.items())
        print(
            f"{len(jobs):,} jobs: {times}; ours / bare {ratio:.2f}, ours / minimal {found['ours'] / found['minimal']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
