"""The workflow on a real Slurm: the same tables byte for byte, GPUs scheduled, and what happens when things go wrong."""

import os
import signal
import time

import pytest
from slurm_tree import SlurmTree, cluster_module, jobs, restarts, slurm
from tree import Tree

slurm_cluster = cluster_module()
REASON = slurm_cluster.unavailable()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]
POINTS, IMAGES = "toy2d_ci", "imagenet256_smoke"
DATA = "results/toy2d_ci/data/train.safetensors"
GPUS = 1  # of each of two nodes, which have CPUs for more jobs
HOLD_A_GPU = {"encode", "train", "generate", "discriminate", "sample", "extract"}
ON_SLURM = {"synthesize", "obtain", "prepare", "reconstruct", "density", "grade", "measure"} | HOLD_A_GPU


@pytest.fixture(scope="module")
def cluster():
    with slurm_cluster.tracked(gpus=GPUS, cpus=2, wait_s=1800) as made:
        yield made
    assert slurm_cluster.leftovers() == []


def few_jobs(tree):
    """Every rule of a table once: points with a density and a grader; images, on pixels and on latents, of a net and a discriminator trained here."""
    tree.keep(
        POINTS,
        {"none": {}},
        denoisers={"s": {"train": {"seeds": [0]}}},
        discriminators={"guide": None, "grade": {"points": ["none"]}},
        divergences=None,
        paper={"headline": ["none"]},
    )
    tree.keep(
        IMAGES,
        {"cg": {}, "cg_dg": {"weights": [1.0]}, "dit": {"main": "weak"}},
        discriminators={"guide_dit": None},
        features={"adm": None},
        evaluate={"select_metric": ["fid@inception"], "metrics": ["fid@inception", "recall@inception"]},
        paper={"headline": ["cg/w1.00", "cg_dg/w1.00", "dit"]},
    )


def tables(tree):
    return {
        path.name: path.read_bytes()
        for path in (tree.root / "results/tables").iterdir()
        if path.stem in (POINTS, IMAGES)
    }


@pytest.fixture(scope="module")
def built(cluster, tmp_path_factory):
    """Both tables through Slurm, by processes as users start them."""
    tree = SlurmTree.make(tmp_path_factory.mktemp("slurm") / "tree", IMAGES, more=[POINTS])
    few_jobs(tree)
    tree.run("snakemake", "--profile", "slurm", *(f"results/tables/{name}.csv" for name in (POINTS, IMAGES)))
    return tree


def test_every_table_is_the_local_one_byte_for_byte(built, tmp_path):
    local = Tree.new(tmp_path / "tree", fake=False, experiment=IMAGES, warm=True, more=[POINTS])
    few_jobs(local)
    targets = [f"results/tables/{name}.csv" for name in (POINTS, IMAGES)]
    local.run("snakemake", "--cores", "2", "--quiet", "all", "--", *targets)
    assert {f"{name}.{kind}" for name in (POINTS, IMAGES) for kind in ("csv", "md", "tex")} == set(
        tables(local)
    )
    assert tables(built) == tables(local)


def test_gpu_jobs_share_the_gpus_there_are_and_no_others_hold_one(built):
    """Each GPU serves one job at a time, all GPUs serve, and jobs without a GPU request see none."""
    held = [job for job in built.ran() if job.gpus != "none"]
    assert {job.rule for job in held} == HOLD_A_GPU
    assert {(job.node, job.gpus) for job in held} == {("n1", "0"), ("n2", "0")}
    most = 0
    for job in held:
        beside = [other for other in held if other.begin <= job.begin < other.end]
        most = max(most, len(beside))
        assert len({(other.node, other.gpus) for other in beside}) == len(beside), beside
    assert most == 2 * GPUS
    without = [job for job in built.ran() if job.gpus == "none" and job.job != "none"]
    assert any(job.rule == "sample" for job in without)  # of toy2d


def test_every_job_went_through_slurm_and_nothing_is_left_to_do(built):
    assert {job.rule for job in built.ran() if job.job != "none"} == ON_SLURM
    assert {job.rule for job in built.ran() if job.job == "none"} == {"collect", "table"}
    said = built.run("snakemake", "-n", *(f"results/tables/{name}.csv" for name in (POINTS, IMAGES)))
    assert "Nothing to be done" in said


def test_a_stopped_training_resumes_and_gives_the_same_result(cluster, tmp_path_factory):
    """Slurm signals it twice, as before a preemption; no attempt is used up, and the bytes are the undisturbed ones."""
    tree = SlurmTree.make(tmp_path_factory.mktemp("stops") / "tree")
    long = {"nimg": "256Ki", "batch": 256, "decay_nimg": "8Ki", "snapshot_nimg": "16Ki"}
    tree.set("denoisers.xs_long.train", long)  # seconds
    target = tree.root / "results/toy2d_ci/checkpoints/xs_long/seed0.safetensors"
    tree.run("guidelab", "train", "toy2d_ci", "xs_long", "seed0")
    undisturbed = target.read_bytes()
    target.unlink()
    with tree.started("--retries", "0", "--", str(target.relative_to(tree.root))) as run:
        for stop, signalled in enumerate(("TERM", "USR1")):
            run.until("training", lambda: list(tree.root.glob(".state/**/lock")))
            (job,) = jobs("RUNNING", "%i", tree.root)
            slurm("scancel", f"--signal={signalled}", job)
            run.until("requeued", lambda job=job, stop=stop: restarts(job) == stop + 1)
            for lock in tree.root.glob(".state/**/lock"):
                lock.unlink()
        assert run.ends() == 0, run.said()
    assert jobs("all", "%i %T", tree.root) == [f"{job} COMPLETED"]
    assert target.read_bytes() == undisturbed


def test_a_job_stops_before_its_time_limit_and_uses_no_attempt_up(cluster, tmp_path_factory):
    """Thirty seconds of work, twenty at a time."""
    tree = SlurmTree.slow(tmp_path_factory.mktemp("limit") / "tree", 20)
    target = "results/toy2d_ci/checkpoints/xs/seeds0-1.safetensors"
    with tree.started("--retries", "0", "--set-resources", "train:runtime=30", "--", target) as run:
        assert run.ends() == 0, run.said()
    (job,) = jobs("all", "%i", tree.root)
    assert restarts(job) >= 1
    assert (tree.root / target).read_text().split() == [str(step) for step in range(60)]


def test_failed_and_cancelled_jobs_are_tried_again_with_more(cluster, tmp_path_factory):
    tree = SlurmTree.held(tmp_path_factory.mktemp("more") / "tree")
    tree.fail.touch()
    with tree.started("--", DATA) as run:
        run.until("first attempt", lambda: tree.begun() == 1)
        tree.hold.unlink()
        run.until("failed", lambda: not tree.fail.exists())
        tree.hold.touch()
        run.until("second attempt", lambda: tree.begun() == 2)
        slurm("scancel", *jobs("RUNNING", "%i", tree.root))
        run.until("third attempt", lambda: tree.begun() == 3)
        tree.hold.unlink()
        assert run.ends() == 0, run.said()
    told = jobs("all", "%T %m %l", tree.root)
    assert told == ["FAILED 1500M 30:00", "CANCELLED 3000M 1:00:00", "COMPLETED 4500M 1:30:00"]


def test_a_lost_controller_and_a_preempted_job_are_reported_and_survived(cluster, tmp_path_factory):
    """With version 2.8.0 of the executor alone each of the two hangs for ever."""
    tree = SlurmTree.held(tmp_path_factory.mktemp("lost") / "tree")
    with tree.started("--", DATA) as run:
        run.until("running", lambda: tree.begun() == 1)
        cluster.down("slurmctld")
        run.until("told", lambda: "Slurm has not answered" in run.said())
        cluster.up("slurmctld")
        run.until("told", lambda: "Slurm answers again" in run.said())
        everything = ["--nodes=2", "--ntasks=2", "--exclusive", "--partition=urgent", "--output=/dev/null"]
        slurm("sbatch", *everything, "--wrap", "sleep 5")
        run.until("told", lambda: "is PREEMPTED and Slurm does not start it again" in run.said())
        tree.hold.unlink()
        assert run.ends() == 0, run.said()
    assert jobs("all", "%T", tree.root) == ["PREEMPTED", "COMPLETED"]


def test_a_node_daemon_that_is_killed_under_a_job_loses_nothing(cluster, tmp_path_factory):
    """The job ends while its node's daemon is down; it does not run again."""
    tree = SlurmTree.held(tmp_path_factory.mktemp("daemon") / "tree")
    with tree.started("--retries", "0", "--", DATA) as run:
        run.until("running", lambda: tree.begun() == 1)
        (node,) = jobs("RUNNING", "%N", tree.root)
        cluster.down(node)
        tree.hold.unlink()
        run.until("made", lambda: (tree.root / DATA).exists())
        cluster.up(node)
        assert run.ends() == 0, run.said()
    assert jobs("all", "%T", tree.root) == ["COMPLETED"] and tree.begun() == 1


def test_jobs_of_a_killed_snakemake_are_named_and_nothing_starts_meanwhile(cluster, tmp_path_factory):
    tree = SlurmTree.held(tmp_path_factory.mktemp("orphans") / "tree")
    with tree.started("--", DATA) as run:
        run.until("running", lambda: tree.begun() == 1)
        os.killpg(run.process.pid, signal.SIGKILL)
    (orphan,) = jobs("RUNNING", "%i", tree.root)
    with tree.started("--", DATA) as second:
        assert second.ends() != 0
    assert f"scancel {orphan}" in second.said() and "Traceback" not in second.said()
    assert jobs("all", "%i", tree.root) == [orphan] and tree.begun() == 1
    slurm("scancel", orphan)
    while jobs("RUNNING,COMPLETING", "%i", tree.root):
        time.sleep(0.5)
    tree.hold.unlink()
    with tree.started("--", DATA) as third:
        assert third.ends() == 0, third.said()
    assert jobs("all", "%T", tree.root) == ["CANCELLED", "COMPLETED"]
