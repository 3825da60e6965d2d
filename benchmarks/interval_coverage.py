"""How often 95 % intervals hold the truth, on draws whose truth is known, and reported over true errors.

Run with one thread and the package importable: `OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py` (minutes). Each
draw takes two generated sets that share their noise, and a reference subset. The truth of a number is its mean over all
draws, at this number of samples: intervals are of the expectation, whose bias every method shares. FID's reference is
one fixed large set, as in the tables. Sets are Gaussian in `--features` dimensions; the second is narrower and moved.

`--balls` prints the second table instead: precision and recall in the seven cases of `CASES`.
"""

import argparse
import os
from collections.abc import Callable

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


def _normal(rng: np.random.Generator, n: int, features: int) -> np.ndarray:
    return rng.standard_normal((n, features))


def _modes(rng: np.random.Generator, n: int, modes: int) -> np.ndarray:
    """Points around the first of ten fixed centres in 8 dimensions."""
    centres = 4 * np.random.default_rng(10).standard_normal((10, 8))
    return centres[rng.integers(modes, size=n)] + _normal(rng, n, 8)


def _flat(rng: np.random.Generator, n: int, scale: float) -> np.ndarray:
    """Rank 6 in 64 dimensions, with noise."""
    plane = np.random.default_rng(11).standard_normal((6, 64))
    return scale * _normal(rng, n, 6) @ plane + 0.3 * _normal(rng, n, 64)


Draw = Callable[[np.random.Generator, int], np.ndarray]
CASES: dict[str, tuple[Draw, Draw]] = {  # generated, reference
    "equal, 2 features": (lambda rng, n: _normal(rng, n, 2), lambda rng, n: _normal(rng, n, 2)),
    **{
        f"narrower by 0.8, {f} features": (
            lambda rng, n, f=f: 0.8 * _normal(rng, n, f),
            lambda rng, n, f=f: _normal(rng, n, f),
        )
        for f in (2, 8, 32)
    },
    "moved by 1.5, 8 features": (
        lambda rng, n: _normal(rng, n, 8) + 1.5 * np.eye(8)[0],
        lambda rng, n: _normal(rng, n, 8),
    ),
    "8 of 10 modes, 8 features": (lambda rng, n: _modes(rng, n, 8), lambda rng, n: _modes(rng, n, 10)),
    "rank 6 and noise, 64 features": (lambda rng, n: _flat(rng, n, 0.9), lambda rng, n: _flat(rng, n, 1.0)),
}


def balls(count: int, n: int) -> None:
    """Print, for each case, reported and binomial over true errors, and how often intervals hold the mean."""
    print(f"{count} draws of {n} samples")
    print(
        "| case | metric | mean | reported / true | binomial / true | holds, % |\n|---|---|---:|---:|---:|---:|"
    )
    for case, (generated, reference) in CASES.items():
        rng = np.random.default_rng(0)
        found = [manifold(generated=generated(rng, n), reference=reference(rng, n)) for _ in range(count)]
        for metric in ("precision", "recall"):
            numbers = [getattr(one, metric) for one in found]
            values, errors = (
                np.array([getattr(v, name) for v in numbers]) for name in ("value", "std_error")
            )
            binomial = np.sqrt((values * (1 - values)).mean() / n)
            _, _, true, ratio, held, _ = row("", values, errors).split("|")
            print(
                f"| {case} | {metric} | {values.mean():.2f} |{ratio}| {binomial / float(true):.2f} |{held}|",
                flush=True,
            )


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
    parser.add_argument("--balls", action="store_true", help="precision and recall in seven cases")
    options = parser.parse_args()
    if options.balls:
        balls(options.draws, options.samples)
        return
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
