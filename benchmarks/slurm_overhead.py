"""What a job costs more on Slurm than on this machine: the same workflow, whose commands take milliseconds, run both ways.

    python benchmarks/slurm_overhead.py [--points 20]       # as root, on Debian; on an otherwise idle machine

A test cluster (`tests/cluster/slurm.py`, two nodes on loopback, two CPUs each) runs `toy2d_ci` up to its samples. CPU seconds are those of
the whole machine, from `/proc/stat`, less what it uses when idle: jobs on a cluster are not children of who submits them.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/workflow"), str(ROOT / "src")]

from slurm_tree import SlurmTree, cluster_module  # noqa: E402 - found by the line above
from tree import Tree  # noqa: E402

IDLE_S = 5.0
LOCAL = ("snakemake", "--cores", "2", "--quiet", "all", "--")
SLURM = ("snakemake", "--profile", "slurm", "--quiet", "all", "--")


def busy() -> float:
    """CPU seconds that this machine has used."""
    user, nice, system, _, _, irq, soft = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def idle() -> float:
    """CPU seconds a second that are used without us."""
    before = busy()
    time.sleep(IDLE_S)
    return (busy() - before) / IDLE_S


def measured(tree: Tree, command: tuple[str, ...], target: str) -> tuple[int, float, float]:
    """Jobs, CPU seconds and wall seconds of one run of everything a target needs."""
    base = idle()
    tree.log.write_text("")
    began, used = time.monotonic(), busy()
    tree.run(*command, target)
    wall = time.monotonic() - began
    return len(tree.log.read_text().splitlines()), busy() - used - base * wall, wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=20, help="of the sweep; one job each (default 20)")
    points = parser.parse_args().points
    target = "results/toy2d_ci/manifests/sample.json"
    found = {}
    with tempfile.TemporaryDirectory() as folder, cluster_module().tracked(cpus=2, wait_s=60):
        for name, command in (("local", LOCAL), ("slurm", SLURM)):
            tree = SlurmTree.new(Path(folder) / name)
            tree.environment["GUIDELAB_SLURM_POLL_S"] = "2"
            tree.set(
                "variants.autog.weights", [2.0, 3.0, *(round(3 + 0.1 * i, 2) for i in range(1, points - 1))]
            )
            found[name] = measured(tree, command, target)
    print("| where | jobs | CPU s | wall s | CPU s a job |\n|---|---:|---:|---:|---:|")
    for name, (jobs, cpu, wall) in found.items():
        print(f"| {name} | {jobs} | {cpu:.1f} | {wall:.1f} | {cpu / jobs:.2f} |")
    jobs = found["slurm"][0]
    more = [(found["slurm"][i] - found["local"][i]) / jobs for i in (1, 2)]
    print(f"\nmore on Slurm, a job: {more[0]:.2f} CPU s, {more[1]:.2f} s of wall time")


if __name__ == "__main__":
    main()
