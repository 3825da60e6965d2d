"""All estimates of one sampler's divergences, without drawing its samples: CPU seconds of one thread.

Needs results/toy2d (`snakemake -c2 results/tables/toy2d_divergences.csv`). Run in the project's folder:
`OMP_NUM_THREADS=1 python benchmarks/divergences.py` (10,000 samples and as many real points, at cfg/w2.00).
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # CPU seconds of one thread

import time  # noqa: E402

import torch  # noqa: E402

from guidelab.divergence.estimate import estimate  # noqa: E402
from guidelab.divergence.noisy import Examples  # noqa: E402
from guidelab.jobs.subjects import sampler  # noqa: E402
from guidelab.plan.plan import Plan  # noqa: E402
from guidelab.spec.load import load_spec  # noqa: E402


def main() -> None:
    """Print one row of a Markdown table a point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--points", nargs="+", default=["none/w1.00", "cfg/w2.00", "dg/w1.00"])
    options = parser.parse_args()
    plan = Plan(load_spec(Path("params.yaml")))
    print("| toy2d | samples | CPU s, estimates | CPU s, samples |\n|---|---:|---:|---:|")
    for point in options.points:
        run = plan.experiment("toy2d").runs_at(point)[0]
        job = json.loads(plan.payload("diverge", "toy2d", *run.point.split("/"), run.part))
        job["estimate"]["coverage"] = None
        found = sampler(job, 0)
        start = time.process_time()
        assert found.exact is not None  # toy2d's density is known
        drawn = found.exact.draw(4_000_000, 4_000_000 + options.samples - 1)
        sampled = time.process_time() - start
        real = found.exact.data.draw(options.samples, torch.Generator().manual_seed(1))
        subject = replace(found, report=(Examples(real.double()), Examples(drawn.double())))
        start = time.process_time()
        lines = list(estimate(job["estimate"], tuple(job["sigmas"]), subject))
        seconds = time.process_time() - start
        print(f"| {point}, {len(lines)} numbers | {options.samples:,} | {seconds:.1f} | {sampled:.1f} |")


if __name__ == "__main__":
    main()
