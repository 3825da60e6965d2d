"""`python tests/chaos`: fault injection, the long form. Prints every kill, what the user saw and a tally; status 0 if nothing was lost."""

import argparse
import contextlib
import resource
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "workflow"), str(HERE.parents[1] / "src")]

from cluster_at_risk import ClusterAtRisk  # noqa: E402
from injection import Injection, summary  # noqa: E402
from slurm_tree import cluster_module  # noqa: E402
from tree_at_risk import end_all  # noqa: E402 - found by the line above


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the kills (default 1)")
    parser.add_argument("--kills", type=int, default=100, help="kills that hit, shared by the experiments")
    parser.add_argument(
        "--experiment", action="append", choices=("toy2d_ci", "fashion_ci"), help="default: both"
    )
    parser.add_argument(
        "--slurm",
        action="store_true",
        help="jobs go to a test cluster (tests/cluster/slurm.py; root, Debian)",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no further kills after so long")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that all processes are ended below
    experiments = given.experiment or ["toy2d_ci", "fashion_ci"]
    began = time.time()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(cluster_module().tracked(cpus=2)) if given.slurm else None
        injections = [stack.enter_context(injected(name, cluster)) for name in experiments]
        turns = deque()
        for number, injection in enumerate(injections):
            kills = given.kills // len(experiments) + (number < given.kills % len(experiments))
            turns.append(injection.rounds(kills, given.seed + number, began + 60 * given.minutes))
        while turns:  # one round of each experiment in turn: a run that is cut short has hit all of them
            turn = turns.popleft()
            if next(turn, None) is not None:
                turns.append(turn)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    hit = sum(injection.tally.kills for injection in injections)
    print(
        f"{time.time() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} CPU s"
        f"{' without those of the cluster' if given.slurm else ''}, seed {given.seed}: {hit} kills hit, nothing lost"
    )


@contextlib.contextmanager
def injected(experiment: str, cluster) -> Iterator[Injection]:
    """An experiment in a folder that is removed, built once undisturbed; its tally is printed also after an error."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        root = Path(folder) / experiment
        injection = Injection(root, experiment, lambda text: print(text, flush=True))
        at_risk = ClusterAtRisk(cluster) if cluster else None
        try:
            injection.run_undisturbed()
            injection.tree.cluster = at_risk
            injection.tree.environment["GUIDELAB_SLURM_POLL_S"] = "2"
            yield injection
        finally:
            print(f"{experiment}: {summary(injection.tally)}", flush=True)
            end_all(root)
            if at_risk:
                at_risk.end(root)
    assert not injection.tally.lost, f"finished jobs were made again: {injection.tally.lost}"


main()
