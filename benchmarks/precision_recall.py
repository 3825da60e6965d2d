"""Exact precision and recall of large feature sets: CPU seconds and peak memory.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/precision_recall.py` (10,000
generated against 50,000 real rows of 2,048 features: minutes), or with `--generated 10000 --reference 20000
--features 512`. The features are Gaussian with a spectrum of one decade, float32 as extractors give them.
"""

import argparse
import os
import resource
import sys

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # CPU seconds of one thread

import time  # noqa: E402

import torch  # noqa: E402

from guidelab.metrics.chunked import precision_recall_chunked  # noqa: E402


def features(n: int, f: int, seed: int, scale: float) -> torch.Tensor:
    """[n, f] float32, made in place: the benchmark's own copies must not count."""
    x = torch.randn(n, f, generator=torch.Generator().manual_seed(seed))
    return x.mul_(scale * torch.logspace(0, -1, f))


def main() -> None:
    """Print one row of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generated", type=int, default=10_000)
    parser.add_argument("--reference", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=2048)
    options = parser.parse_args()
    fake = features(options.generated, options.features, 0, 0.95)
    real = features(options.reference, options.features, 1, 1.0)
    start = time.process_time()
    found = precision_recall_chunked(generated=fake, reference=real)
    seconds = time.process_time() - start
    unit = (
        1 if sys.platform == "darwin" else 1024
    )  # ru_maxrss is bytes on one system, kilobytes on the others
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print("| generated x real x features | CPU s | peak memory of the process, GB | precision | recall |")
    print("|---|---:|---:|---:|---:|")
    size = f"{options.generated:,} x {options.reference:,} x {options.features:,}"
    print(
        f"| {size} | {seconds:.0f} | {peak / 1e9:.2f} | {found.precision.value:.4f} | {found.recall.value:.4f} |"
    )


if __name__ == "__main__":
    main()
