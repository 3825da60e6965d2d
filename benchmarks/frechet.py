"""The trace of the matrix square root of the Fréchet distance: ours against scipy.linalg.sqrtm and NumPy.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/frechet.py`.
Prints Markdown tables of CPU seconds and relative errors. The exact value is known: two covariances that share their
eigenvectors, with Inception-like spectra (a power law over four decades), have the trace sum(a b). With `--samples`
also a whole distance with its standard error, of fewer samples than features to a fixed reference.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # CPU seconds of one thread

import time  # noqa: E402
from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402

from guidelab.metrics.frechet import frechet_distance, moments, sqrt_trace  # noqa: E402
from guidelab.metrics.frechet_fixed import frechet_fixed, spread  # noqa: E402

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


def fixed_reference(samples: int, features: int, repeats: int) -> None:
    """Time one distance to a fixed reference: without an error in full, with a jackknife error in the small form."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((features, features)))[0] * np.logspace(0, -2, features)[:, None]
    real, fake = (
        (s * rng.standard_normal((n, features)) @ basis).astype(np.float32)
        for n, s in ((10_000, 1.0), (samples, 1.1))
    )
    start = time.process_time()
    fixed = spread(real)
    once = time.process_time() - start
    seconds: dict[str, list[float]] = {"full": [], "small": []}
    for _ in range(repeats):
        start = time.process_time()
        full = frechet_distance(generated=moments(fake), reference=fixed.moments)
        seconds["full"].append(time.process_time() - start)
        start = time.process_time()
        small = frechet_fixed(generated=fake, reference=fixed)
        seconds["small"].append(time.process_time() - start)
    print(f"\n| {samples} samples, {features} features | CPU s | distance |\n|---|---:|---:|")
    print(f"| frechet_distance, no error | {min(seconds['full']):.2f} | {full:.6g} |")
    print(f"| frechet_fixed, jackknife error | {min(seconds['small']):.2f} | {small.value:.6g} |")
    print(f"| the reference's factor, once | {once:.2f} | |")


def main() -> None:
    """Time every route once per repetition, interleaved, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--decades", type=float, default=4.0, help="range of the covariance's eigenvalues")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, nargs="*", default=[], help="sizes of generated sets")
    options = parser.parse_args()
    for samples in options.samples:
        fixed_reference(samples, options.features, options.repeats)
    if options.samples:
        return
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
