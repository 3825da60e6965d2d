"""`python tests/chaos`: the long storm. Prints every blow, what the user saw, and a summary; status 0 if nothing was lost."""

import argparse
import contextlib
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "workflow"), str(HERE.parents[1] / "src")]

from cluster_at_risk import ClusterAtRisk  # noqa: E402
from slurm_tree import cluster_module  # noqa: E402
from storm import Storm, end_all, summary  # noqa: E402 - found by the line above


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the blows (default 1)")
    parser.add_argument("--kills", type=int, default=100, help="blows that strike, shared by the experiments")
    parser.add_argument(
        "--experiment", action="append", choices=("toy2d_ci", "fashion_ci"), help="default: both"
    )
    parser.add_argument(
        "--slurm",
        action="store_true",
        help="jobs go to a test cluster (tests/cluster/slurm.py; root, Debian)",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no further blows after so long")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that whatever runs is ended below
    experiments = given.experiment or ["toy2d_ci", "fashion_ci"]
    began = time.time()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(cluster_module().tracked(cpus=2)) if given.slurm else None
        for number, experiment in enumerate(experiments):
            kills = given.kills // len(experiments) + (number < given.kills % len(experiments))
            rage(experiment, kills, given.seed + number, began + 60 * given.minutes, cluster)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{time.time() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} CPU s"
        f"{' beside those of the cluster' if given.slurm else ''}, seed {given.seed}: nothing lost"
    )


def rage(experiment: str, kills: int, seed: int, until: float, cluster) -> None:
    """One experiment's storm, in a folder that is removed; the tally is told also when something is wrong."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        root = Path(folder) / experiment
        storm = Storm(root, experiment, lambda text: print(text, flush=True))
        at_risk = ClusterAtRisk(cluster) if cluster else None
        try:
            storm.still()
            storm.tree.cluster = at_risk
            storm.tree.environment["GUIDELAB_SLURM_POLL_S"] = "2"
            storm.rage(kills, seed, until)
        finally:
            print(f"{experiment}: {summary(storm.tally)}", flush=True)
            end_all(root)
            if at_risk:
                at_risk.end(root)
    assert not storm.tally.lost, f"finished jobs were made again: {storm.tally.lost}"


main()
