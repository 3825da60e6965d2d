"""Profiles: requests of cluster jobs, the source of partition and account, settings a profile may not have."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yte

from guidelab.plan.plan import Plan
from guidelab.plan.resources import needs
from guidelab.plan.rules import RULES
from guidelab.runtime.slurm.site import RESOURCES
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "slurm" / "config.yaml"
SITE = (
    *RESOURCES,
    "GUIDELAB_SLURM_GPU_PARTITION",
    "GUIDELAB_SLURM_JOBS",
    "GUIDELAB_SLURM_STATUS",
    "GUIDELAB_SLURM_POLL_S",
)


def read(path, monkeypatch, **environment):
    for name in (*SITE, "CORES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return yte.process_yaml(path.read_text(), require_use_yte=True)


def rules():
    found = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        pattern = r"^use rule job as (\w+) with:\n(.*?)(?=^use rule |^rule |\Z)"
        for name, body in re.findall(pattern, path.read_text(), re.M | re.S):
            found[name] = body
    return found


def local_rules():
    (block,) = re.findall(r"^localrules:\n((?:    \w+,?\n)+)", (ROOT / "Snakefile").read_text(), re.M)
    return set(re.findall(r"\w+", block))


def test_every_rule_on_the_cluster_requests_memory_time_threads_and_gpus():
    """The rule requests them, the numbers are in one table, and every attempt gets more."""
    assert set(rules()) == set(RULES)
    local = {name for name, rule in RULES.items() if rule.local}
    assert local_rules() == {*local, "all", "manifest"}
    for name in set(rules()) - local:
        assert f'    threads: resource("{name}", "threads")\n' in rules()[name], name
        assert f'    resources:\n        **resources("{name}"),\n' in rules()[name], name
    assert not any("resources" in rules()[name] for name in local), "those of the base rule"


def test_only_streamed_experiments_request_a_gpu(monkeypatch):
    plan = Plan(load_spec(ROOT / "params.yaml"))
    monkeypatch.delenv("GUIDELAB_GPUS", raising=False)
    assert all(rule.needs.gpu == 0 for rule in RULES.values())
    assert needs(plan, "sample", "fashion") == RULES["sample"].needs
    assert needs(plan, "sample", "imagenet256").gpu == 1
    assert needs(plan, "sample", "imagenet256_smoke").gpu == 1  # so that a test cluster schedules GPUs
    assert needs(plan, "sample", "imagenet256_smoke").mem_mb == RULES["sample"].needs.mem_mb
    monkeypatch.setenv("GUIDELAB_GPUS", "4")
    assert (needs(plan, "sample", "imagenet256").gpu, needs(plan, "measure", "imagenet256").gpu) == (4, 0)


def test_traps_stay_out_of_the_slurm_profile(monkeypatch):
    profile = read(SLURM, monkeypatch)
    assert profile["slurm-status-command"] == "squeue"
    assert profile["retries"] == 2
    assert profile["rerun-incomplete"] is True
    assert not {"slurm-array-jobs", "cores", "software-deployment-method"} & set(profile)


def test_site_settings_come_from_the_environment_only(monkeypatch):
    plain = read(SLURM, monkeypatch)
    assert set(plain["default-resources"]) == {"mem_mb", "runtime"} and "set-resources" not in plain
    assert (plain["jobs"], plain["slurm-init-seconds-before-status-checks"]) == (100, 40)
    given = {name: f"my-{index}" for index, name in enumerate(RESOURCES)}
    found = read(SLURM, monkeypatch, **given, GUIDELAB_SLURM_JOBS="7")
    assert {key: eval(found["default-resources"][name]) for key, name in RESOURCES.items()} == given
    assert found["jobs"] == 7
    documented = (ROOT / "docs/cluster.md").read_text()
    read_here = "".join(path.read_text() for path in (ROOT / "src/guidelab/slurm").glob("*.py"))
    read_here += SLURM.read_text()
    wanted = {*SITE, *re.findall(r"GUIDELAB_SLURM_\w+|GUIDELAB_WATCH\w+|GUIDELAB_MARGIN\w+", read_here)}
    assert all(f"`{name}`" in documented for name in wanted), [
        n for n in wanted if f"`{n}`" not in documented
    ]


def test_jobs_that_use_gpus_can_have_a_partition_of_their_own_and_keep_it():
    """Also with --set-resources, which would replace any that the profile gave; small jobs stay in the default partition."""
    named = {
        "GUIDELAB_SLURM_PARTITION": "open",
        "GUIDELAB_SLURM_GPU_PARTITION": "all",
    }  # as functions of Python are
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--profile",
        "slurm",
        "--set-resources",
        "train:runtime=77",
        "--",
    ]
    targets = ["results/tables/imagenet256_smoke.csv", "results/tables/toy2d_ci.csv"]
    done = subprocess.run(
        [*command, *targets], cwd=ROOT, env=os.environ | named, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)+)", done.stdout, re.M)
    places = {
        (name, "gpu=1" in printed): re.search(r"slurm_partition=(\w+)", printed)[1]
        for name, printed in jobs
        if "mem_mb" in printed
    }
    assert places["train", True] == places["sample", True] == "all"
    assert places["train", False] == places["sample", False] == places["measure", False] == "open"
    gpus = {rule.name for rule in RULES.values() if rule.streamed and rule.streamed.gpu}
    assert {name for (name, _), place in places.items() if place == "all"} == gpus & {
        name for name, gpu in places if gpu
    }
    assert all("runtime=77" in printed for name, printed in jobs if name == "train")


def test_the_local_profile_takes_cores_from_the_environment(monkeypatch):
    local = ROOT / "workflow/profiles/local/config.yaml"
    assert read(local, monkeypatch)["cores"] == 2
    assert read(local, monkeypatch, CORES="7")["cores"] == 7


def test_slurm_is_a_link_git_carries():
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm").readlink() == Path("workflow/profiles/slurm")


def test_snakemake_reads_the_requests_of_the_profile(tmp_path):
    """The literal command on a workflow of one rule: resources reach the job, the site's partition too."""
    (tmp_path / "slurm").symlink_to(SLURM.parent)
    (tmp_path / "Snakefile").write_text(
        "rule sample:\n    output: 'a'\n    resources: mem_mb=lambda wildcards, attempt: 2000 * attempt\n    shell: 'touch {output}'\n"
    )
    environment = os.environ | {"GUIDELAB_SLURM_PARTITION": "big", "GUIDELAB_SLURM_ACCOUNT": "123"}
    command = [sys.executable, "-m", "snakemake", "-n", "--profile", "slurm", "a"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout + done.stderr
    for wanted in ("mem_mb=2000", "runtime=30", "slurm_partition=big", "slurm_account=123"):
        assert wanted in shown
