"""2D training: a plain implementation of the recipe against this package, in one run, interleaved.

    OMP_NUM_THREADS=1 python benchmarks/toy_training.py            # timings, about 3 minutes
    OMP_NUM_THREADS=1 python benchmarks/toy_training.py --parity   # and 256 equal iterations: 5 minutes more

Process CPU time of one thread, so other load shifts both sides alike; read the ratios. The plain version is the
recipe as one writes it down: the density and the score each expand every component's inverse covariance with
einsum, the network's score is its gradient by autograd, and training differentiates twice.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import copy  # noqa: E402
import itertools  # noqa: E402
import math  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from guidelab.core.ema import beta, std_to_gamma  # noqa: E402
from guidelab.core.guidance import Guided, Reference  # noqa: E402
from guidelab.core.line_mixture import line_sums  # noqa: E402
from guidelab.core.samplers import heun  # noqa: E402
from guidelab.core.schedules import edm_sigmas  # noqa: E402
from guidelab.data.toy2d import Toy2d, fractal  # noqa: E402
from guidelab.nets.toy import ToyDenoiser  # noqa: E402
from guidelab.train.points import Points  # noqa: E402
from guidelab.train.streams import stream  # noqa: E402

BATCH = 4096
PIECE = 512  # points of the general step's forward pass at 64 wide, as many as the kernels take


def recipe(width: int) -> dict[str, Any]:
    return {
        "net": {"name": "toy", "width": width, "layers": 4},
        "classes": "A",
        "nimg": 4096 * BATCH,
        "batch": BATCH,
        "lr": 1e-2,
        "decay_nimg": 512 * BATCH,
        "p_mean": -2.3,
        "p_std": 1.5,
        "ema_stds": [0.010],
        "snapshot_nimg": 256 * BATCH,
    }


class PlainMixture:
    """Gaussian mixture by einsum over all components, float32, densities rather than their logarithms."""

    def __init__(self, tree: Toy2d) -> None:
        variances, axes = torch.linalg.eigh(tree.covs)
        self.weights, self.means = tree.weights.float(), tree.means.float()
        self.variances, self.axes = variances.float(), axes.float()

    def reorder(self) -> None:
        """Count the components backwards: the same mixture, rounded differently."""
        for name in ("weights", "means", "variances", "axes"):
            setattr(self, name, getattr(self, name).flip(0))

    def density(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Density `[B]`, and that of each component times its weight `[B, K]`."""
        variances = self.variances + (sigma**2)[:, None, None]
        offset = x[:, None] - self.means
        square = torch.einsum("bki,kij,bkj,klj,bkl->bk", offset, self.axes, 1 / variances, self.axes, offset)
        each = self.weights * torch.exp(-0.5 * square) / (2 * math.pi * variances.prod(-1).sqrt())
        return each.sum(1), each

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        total, each = self.density(x, sigma)
        variances = self.variances + (sigma**2)[:, None, None]
        pull = torch.einsum(
            "kij,bkj,klj,bkl->bki", self.axes, 1 / variances, self.axes, self.means - x[:, None]
        )
        return torch.einsum("bk,bki->bi", each, pull) / total[:, None]


class PlainNet(nn.Module):
    """The network with autograd for its score."""

    def __init__(self, width: int, layers: int = 4) -> None:
        super().__init__()
        sizes = [4] + [width] * (layers + 1)
        self.weights = nn.ParameterList(torch.randn(b, a) for a, b in itertools.pairwise(sizes))
        self.gain = nn.Parameter(torch.zeros(()))

    @staticmethod
    def normalise(weight: Tensor) -> Tensor:
        return weight / (1e-4 + weight.norm(dim=1, keepdim=True) / math.sqrt(weight.shape[1]))

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        scaled = x / (sigma**2 + 0.25).sqrt()[:, None]
        h = torch.cat([scaled, sigma.log()[:, None] / 4, torch.ones_like(sigma)[:, None]], dim=1)
        for index, weight in enumerate(self.weights):
            if index:
                h = functional.silu(h) / 0.596
            if self.training:
                with torch.no_grad():
                    weight.copy_(self.normalise(weight))
            h = h @ (self.normalise(weight) / math.sqrt(weight.shape[1])).T
        return self.gain * (h**2).mean(1) / sigma - 0.5 * (scaled**2).sum(1)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            total = self.log_density(x, sigma).sum()
            return torch.autograd.grad(total, x, create_graph=self.training)[0]

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        return x + (sigma**2)[:, None] * self.score(x, sigma)


class Plain:
    """The plain training, from the same first weights and random numbers as ours."""

    def __init__(self, width: int, tree: Toy2d, seed: int) -> None:
        self.config, self.tree, self.mixture, self.seed = recipe(width), tree, PlainMixture(tree), seed
        source = ToyDenoiser(width, generator=stream("toy weights", seed))
        self.net = PlainNet(width)
        for mine, theirs in zip(
            self.net.weights, (source.get_parameter(n) for n in source.weight_names()), strict=True
        ):
            mine.data.copy_(theirs.data)
        self.average = copy.deepcopy(self.net)
        self.optimiser = torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.99), eps=1e-8)
        self.iteration = 0

    def step(self) -> None:
        c, it = self.config, self.iteration
        for group in self.optimiser.param_groups:
            group["lr"] = c["lr"] / math.sqrt(max(it * BATCH / c["decay_nimg"], 1))
        z = torch.randn(BATCH, 4, generator=stream("toy data", self.seed, it))
        sigma = (c["p_mean"] + c["p_std"] * z[:, 0]).exp()
        x = self.tree.sample(z[:, 1:], sigma)
        target = self.mixture.score(x, sigma)
        self.optimiser.zero_grad()
        error = target - self.net.score(x, sigma)
        (sigma**2 * (error**2).mean(1)).mean().backward()
        self.optimiser.step()
        seen = (it + 1) * BATCH
        decay = float(beta(seen, BATCH, std_to_gamma(c["ema_stds"]))[0])
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), self.net.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        self.iteration += 1


class Ours:
    """This package's training, without its loop's saving and logging; `general`: by the step that every net has."""

    def __init__(
        self, width: int, tree: Toy2d, seeds: list[int], general: bool = False, compile: bool = True
    ) -> None:
        config = recipe(width) | {"classes": tree.classes}
        if general:
            config |= {"microbatch": PIECE}
        else:
            torch.compiler.reset()
        start = time.process_time(), time.perf_counter()
        learner = Points(  # long enough for the kernels to be compiled
            config, tree, ToyDenoiser, len(seeds), compile=general and compile, kernels=not general
        )
        self.trainers = [learner.start(seed, False).trainer for seed in seeds]
        self.kernels = learner.kernels
        self.states = [trainer.live for trainer in self.trainers]
        self.iteration = 0
        self.step()
        print(
            f"  {width} wide{', general step' * general}: first iteration, compiling: "
            f"{time.perf_counter() - start[1]:.1f} s",
            flush=True,
        )

    def step(self) -> None:
        for index, trainer in enumerate(self.trainers):
            self.states[index], _ = trainer.step(self.states[index], self.iteration)
        self.iteration += 1


def timed(sides: dict[str, tuple[Callable[[], Any], int]], repeats: int) -> dict[str, float]:
    """Median CPU-ms of one call of each side, interleaved; each side is called its number of times in a row."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for call, _ in sides.values():
        call()
    for _ in range(repeats):
        for name, (call, times) in sides.items():
            start = time.process_time()
            for _ in range(times):
                call()
            found[name].append((time.process_time() - start) * 1e3 / times)
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, found: dict[str, float], divide: dict[str, int] | None = None) -> None:
    base = next(iter(found.values()))
    print(f"{title}\n  {'':44}{'CPU-ms':>10}{'ratio':>8}")
    for name, value in found.items():
        value /= (divide or {}).get(name, 1)
        print(f"  {name:44}{value:10.2f}{base / value:8.1f}")


def scores(tree: Toy2d, repeats: int) -> None:
    z = torch.randn(BATCH, 4, generator=stream("benchmark", 0))
    sigma = torch.exp(-2.3 + 1.5 * z[:, 0])
    x = tree.sample(z[:, 1:], sigma)
    plain, lines = PlainMixture(tree), tree.lines[torch.float32]
    compiled = torch.compile(lambda x, s: line_sums(x, s, lines)[1], dynamic=False)
    exact = tree.mixture.to(torch.float64).score(x, sigma)
    sides = {
        "plain": (lambda: plain.score(x, sigma), 1),
        "general mixture (log space, eigenbasis)": (lambda: tree.mixture.score(x, sigma), 1),
        "lines, uncompiled": (lambda: tree.score(x, sigma), 5),
        "lines, compiled": (lambda: compiled(x, sigma), 20),
    }
    show(f"exact score of {BATCH} points, classes {tree.classes}", timed(sides, repeats))
    errors = [(sigma[:, None] * (call() - exact)).abs().max().item() for call, _ in sides.values()]
    print("  largest error of sigma * score against float64:", " ".join(f"{e:.1e}" for e in errors))


def training(width: int, tree: Toy2d, replicates: int, repeats: int) -> None:
    plain = Plain(width, tree, 0)
    one, many = Ours(width, tree, [0]), Ours(width, tree, list(range(replicates)))
    general, slow = Ours(width, tree, [0], True), Ours(width, tree, [0], True, compile=False)
    loop = f"guidelab, {replicates} seeds in turn, per seed"
    sides = {
        "plain": (plain.step, 1),
        "guidelab, one seed": (one.step, 8),
        loop: (many.step, 3),
        "general step, compiled": (general.step, 8),
        "general step": (slow.step, 4),
    }
    show(f"one training iteration, {width} wide", timed(sides, repeats), {loop: replicates})


def sampling(tree: Toy2d, repeats: int) -> None:
    def nets(kind: Callable[[int], nn.Module]) -> Guided:
        main, guide = kind(64), kind(32)
        for net in (main, guide):
            net.eval().requires_grad_(False).gain.fill_(-0.3)  # type: ignore[union-attr, operator]
        return Guided(main, [Reference(guide, 3.0)])

    start = tree.sample(torch.randn(1 << 14, 3, generator=stream("benchmark", 1)), 5.0)
    sigmas = edm_sigmas(32, 0.002, 5.0, 7.0)
    sides: dict[str, tuple[Callable[[], Any], int]] = {}
    for name, kind in (("plain (autograd)", PlainNet), ("guidelab, uncompiled", ToyDenoiser)):
        predict = nets(kind)

        def draw(predict: Guided = predict) -> Tensor:
            with torch.no_grad():
                return heun(predict, start, sigmas, None)

        sides[name] = (draw, 1)
    show("16,384 samples, 32 Heun steps, autoguidance 64 by 32 wide", timed(sides, repeats))


def parity(width: int, tree: Toy2d, seed: int, iterations: int, control: bool) -> None:
    """Relative difference of the averaged parameters (all as one vector; the worst tensor) during training."""
    plain, ours = Plain(width, tree, seed), Ours(width, tree, [seed])
    names = ToyDenoiser(width).weight_names()
    other = Plain(width, tree, seed) if control else None
    if other is not None:
        other.mixture.reorder()
    print(f"{width} wide, seed {seed}: relative difference from plain, same random numbers")
    while plain.iteration < iterations:
        plain.step()
        while ours.iteration < plain.iteration:
            ours.step()
        if other is not None:
            other.step()
        if plain.iteration & (plain.iteration - 1) == 0 and plain.iteration >= 32:
            wanted = [p.detach() for p in (*plain.average.weights, plain.average.gain)]
            params = ours.kernels.layout.split(ours.states[0]["ema0.010"])
            text = difference([params[name] for name in (*names, "gain")], wanted)
            if other is not None:
                found = [p.detach() for p in (*other.average.weights, other.average.gain)]
                text += f"; plain with its sums in another order {difference(found, wanted)}"
            print(f"  after {plain.iteration:4d} iterations: {text}", flush=True)


def difference(found: list[Tensor], wanted: list[Tensor]) -> str:
    one, two = (torch.cat([t.reshape(-1) for t in side]) for side in (found, wanted))
    worst = max(float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True))
    return f"{float((one - two).norm() / two.norm()):.1e} (worst tensor {worst:.1e})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="*", default=[64, 32])
    parser.add_argument("--replicates", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--parity", action="store_true", help="also train both sides for --iterations iterations"
    )
    parser.add_argument("--iterations", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="training seeds of --parity")
    parser.add_argument(
        "--control", action="store_true", help="also train plain with its sums in another order"
    )
    parser.add_argument("--skip-timings", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tree = fractal("A")
    if not options.skip_timings:
        scores(tree, options.repeats)
        scores(fractal("AB"), max(options.repeats // 2, 1))
        for width in options.widths:
            training(width, tree, options.replicates, options.repeats)
        sampling(tree, 3)
    for width in options.widths if options.parity else []:
        for seed in options.seeds:
            parity(width, tree, seed, options.iterations, options.control)


if __name__ == "__main__":
    main()
