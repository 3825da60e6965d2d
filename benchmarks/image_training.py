"""Image training: what an iteration costs, and how much of it is not the network.

    OMP_NUM_THREADS=1 python benchmarks/image_training.py     # about a minute

Process CPU time of one thread, parts interleaved in one run; read the shares. "By parameter" is the same optimiser and
two averages as one writes them down: zeroing, `torch.optim.Adam` and `lerp_`, one parameter after the other.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

from guidelab.nets.edm2 import Edm2  # noqa: E402
from guidelab.train.distributed import TrainingGroup  # noqa: E402
from guidelab.train.loader import Draws, Loader  # noqa: E402
from guidelab.train.objectives import Objective, recipe_of  # noqa: E402
from guidelab.train.step import Trainer  # noqa: E402
from guidelab.train.streams import stream  # noqa: E402

BATCH, N = 128, 4096
CONFIG: dict[str, Any] = {
    "net": {"name": "edm2"},
    "batch": BATCH,
    "lr": 1e-2,
    "decay_nimg": 50_000,
    "rampup_nimg": 1280,
    "ema_stds": [0.05, 0.10],
}
NETS: dict[str, dict[str, Any]] = {
    "64, 96 channels": {"channels": 64, "channel_mult": [1.0, 1.5], "attention_px": [4], "lean": True},
    "32, 64 channels": {"channels": 32, "channel_mult": [1.0, 2.0], "attention_px": [4], "lean": True},
    "64, 96 channels, full": {"channels": 64, "channel_mult": [1.0, 1.5], "attention_px": [4]},
}


def trainer(kwargs: dict[str, Any]) -> Trainer:
    generator = stream("benchmark", 0)
    images = torch.randint(0, 256, (N, 1, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (N,), generator=generator)
    net = Edm2(16, 1, 10, blocks=1, patch_px=2, **kwargs, generator=generator).train()
    loader = Loader(images, (1, 16, 16), labels, 0, BATCH, Draws(-0.4, 1.0))
    objective = Objective(net, recipe_of(CONFIG | {"conditional": True}), 0.5)
    return Trainer(net, loader, CONFIG, objective, TrainingGroup())


class ByParameter:
    """Zeroing, Adam and two averages, one parameter after the other."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self.net = Edm2(16, 1, 10, blocks=1, patch_px=2, **kwargs, generator=stream("benchmark", 0))
        self.optimiser = torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.99), eps=1e-8)
        self.averages = [[p.detach().clone() for p in self.net.parameters()] for _ in CONFIG["ema_stds"]]
        for p in self.net.parameters():
            p.grad = torch.randn(p.shape, generator=stream("benchmark", 1))

    @torch.no_grad()
    def update(self) -> None:
        for p in self.net.parameters():
            assert p.grad is not None
            torch.nan_to_num(p.grad, nan=0, posinf=0, neginf=0, out=p.grad)
        self.optimiser.step()
        for average in self.averages:
            for a, p in zip(average, self.net.parameters(), strict=True):
                a.lerp_(p, 0.01)


def cpu_ms(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median CPU-ms of each call, interleaved, after three of each."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 3):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn >= 3:
                found[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(values) for name, values in found.items()}


def measure(title: str, kwargs: dict[str, Any], repeats: int) -> None:
    ours, plain = trainer(kwargs), ByParameter(kwargs)
    size = ours.live["flat"].numel()
    count = iter(range(1 << 30))
    calls = {
        "iteration": lambda: ours.step(ours.live, next(count)),
        "update": lambda: ours._update(10, 0.0),
        "examples": lambda: ours.loader.examples(next(count), range(BATCH)),
        "by parameter": plain.update,
    }
    found = cpu_ms(calls, repeats)
    share = {name: 100 * value / found["iteration"] for name, value in found.items()}
    print(
        f"{title}: {size / 1e6:.2f} M parameters, {1e3 * BATCH / found['iteration']:.0f} images per CPU second"
    )
    for name, value in found.items():
        print(f"  {name:14}{value:9.2f} CPU-ms {share[name]:7.1f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for title, kwargs in NETS.items():
        measure(title, kwargs, options.repeats)


if __name__ == "__main__":
    main()
