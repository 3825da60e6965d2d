"""How often 95 % intervals hold the truth, on draws whose truth is known, and reported over true errors.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py` (minutes). Each
draw takes two generated sets that share their noise, and a reference subset. The truth of a number is its mean over all
draws, at this number of samples: intervals are of the expectation, whose bias every method shares. FID's reference is
one fixed large set, as in the tables. Sets are Gaussian in `--features` dimensions; the second is narrower and moved.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from guidelab.metrics.class_scores import accuracy  # noqa: E402
from guidelab.metrics.frechet_fixed import Spread, frechet_fixed, spread  # noqa: E402
from guidelab.metrics.kid import kid  # noqa: E402
from guidelab.metrics.manifold import manifold  # noqa: E402
from guidelab.metrics.value import Value  # noqa: E402
from guidelab.paper.intervals import t_interval  # noqa: E402

METRICS = ("fid", "kid", "precision", "recall", "accuracy")
NORMAL = 1.959964


def measured(x: np.ndarray, reference: np.ndarray, fixed: Spread) -> list[Value]:
    """The metrics of one set, in order; the class is the sign of the first feature, of which 0 was asked."""
    logits = torch.from_numpy(np.stack([x[:, 0], -x[:, 0]], 1))
    balls = manifold(generated=x, reference=reference)
    distances = (frechet_fixed(generated=x, reference=fixed), kid(generated=x, reference=reference))
    return [*distances, balls.precision, balls.recall, accuracy(logits, torch.zeros(len(x)))]


def draws(count: int, n: int, features: int) -> list[tuple[list[Value], list[Value]]]:
    """The metrics of both sets, `count` times."""
    rng = np.random.default_rng(0)
    fixed = spread(rng.standard_normal((20_000, features)))
    found = []
    for _ in range(count):
        noise, reference = rng.standard_normal((2, n, features))
        first = noise + np.eye(features)[0]
        second = 0.9 * first + 0.1 * rng.standard_normal(first.shape) + 0.1 * np.eye(features)[1]
        found.append((measured(first, reference, fixed), measured(second, reference, fixed)))
    return found


def row(kind: str, values: np.ndarray, errors: np.ndarray) -> str:
    """One line: the ratio of errors, and how often the normal interval holds the mean."""
    ratio = np.sqrt(np.square(errors).mean()) / values.std(ddof=1)
    held = np.mean(np.abs(values - values.mean()) <= NORMAL * errors)
    return f"| {kind} | {values.std(ddof=1):.4g} | {ratio:.2f} | {100 * held:.1f} |"


def main() -> None:
    """Print the table of docs/errors.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--features", type=int, default=12)
    options = parser.parse_args()
    found = draws(options.draws, options.samples, options.features)
    print(f"{options.draws} draws of {options.samples} samples, {options.features} features")
    print("| interval | true error | reported / true | holds, % |\n|---|---:|---:|---:|")
    for i, name in enumerate(METRICS):
        one, two = ([pair[side][i] for pair in found] for side in (0, 1))
        values = [np.array([v.value for v in side]) for side in (one, two)]
        print(row(f"{name}, over samples", values[0], np.array([v.std_error for v in one])))
        paired = np.array([np.linalg.norm(b.parts - a.parts) for a, b in zip(one, two, strict=True)])
        unpaired = np.array([np.hypot(a.std_error, b.std_error) for a, b in zip(one, two, strict=True)])
        print(row(f"{name}, difference, paired", values[1] - values[0], paired))
        print(row(f"{name}, difference, as if unpaired", values[1] - values[0], unpaired))
        for trainings in (3, 5):
            groups = values[0][: options.draws // trainings * trainings].reshape(-1, trainings)
            ends = np.array([t_interval(group) for group in groups])
            held = np.mean((ends[:, 0] <= values[0].mean()) & (values[0].mean() <= ends[:, 1]))
            print(f"| {name}, Student over {trainings} | | | {100 * held:.1f} |")


if __name__ == "__main__":
    main()
