"""The trace of the matrix square root of the Fréchet distance: ours against scipy.linalg.sqrtm and NumPy.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/frechet.py`.
Prints a Markdown table of CPU seconds and relative errors. The exact value is known: two covariances that share their
eigenvectors, with Inception-like spectra (a power law over four decades), have the trace sum(a b).
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # CPU seconds of one thread, whatever the machine

import time  # noqa: E402
from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402

from guidelab.metrics.frechet import sqrt_trace  # noqa: E402

Matrix = np.ndarray


def covariances(features: int, decades: float, seed: int = 0) -> tuple[Matrix, Matrix, float]:
    """Two covariances [F, F] with common eigenvectors, and the exact trace."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((features, features)))[0]
    a = np.logspace(0, -decades / 2, features) * rng.uniform(0.5, 2, features)
    b = np.logspace(0, -decades / 2, features) * rng.uniform(0.5, 2, features)
    one, two = ((basis * s**2) @ basis.T for s in (a, b))
    return (one + one.T) / 2, (two + two.T) / 2, float(np.sum(a * b))


ROUTES: dict[str, Callable[[Matrix, Matrix], float]] = {
    "guidelab": sqrt_trace,
    "numpy.linalg.eigvals (torch-fidelity)": lambda a, b: float(
        np.sqrt(np.linalg.eigvals(a @ b).astype(np.complex128)).real.sum()
    ),
    "scipy.linalg.sqrtm (EDM2, ADM, pytorch-fid)": lambda a, b: float(
        np.trace(scipy.linalg.sqrtm(a @ b)).real
    ),
}


def main() -> None:
    """Time every route once per repetition, interleaved, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--decades", type=float, default=4.0, help="range of the covariance's eigenvalues")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    one, two, exact = covariances(options.features, options.decades)
    seconds: dict[str, list[float]] = {name: [] for name in ROUTES}
    error: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, route in ROUTES.items():
            start = time.process_time()
            trace = route(one, two)
            seconds[name].append(time.process_time() - start)
            error[name] = abs(trace - exact) / exact
    slowest = min(seconds["scipy.linalg.sqrtm (EDM2, ADM, pytorch-fid)"])
    print(f"| {options.features} features, {options.decades:g} decades | CPU s | ratio | relative error |")
    print("|---|---:|---:|---:|")
    for name, times in seconds.items():
        print(f"| {name} | {min(times):.2f} | {slowest / min(times):.1f} | {max(error[name], 2.2e-16):.0e} |")


if __name__ == "__main__":
    main()
