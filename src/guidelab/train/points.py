"""Train denoisers of points: exact score matching on fresh samples of a density that is known at every noise level.

Source: Karras et al. 2024, arXiv:2406.02507, appendix C.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from guidelab.core.line_mixture import Lines, line_sums
from guidelab.core.losses import lognormal_sigma
from guidelab.data.toy2d import Toy2d
from guidelab.nets.build import build
from guidelab.nets.toy import ToyDenoiser
from guidelab.train.denoisers import Started, Stepping
from guidelab.train.distributed import TrainingGroup
from guidelab.train.exact_score import Kernels, KernelTrainer, fresh
from guidelab.train.recipe import Recipe
from guidelab.train.step import Trainer
from guidelab.train.streams import stream

_WORTH_COMPILING = (
    4 << 20
)  # training points above which the toy net's kernels repay the half minute they take to build


class Points:
    """A net on points: its examples, its loss, and the trainer of each seed.

    The step is that of images. The 2D example's own net has a faster one on a CPU, in one process; all seeds share its
    compiled kernels. (Stacking the seeds in batched matrix products was measured to be no faster on a CPU: one
    network's products already fill it.) Both draw the same points, and give the same to rounding.

    Args:
        config: `net` (name and keyword arguments of `make`), `classes` (of the target, `A` or `AB`), `nimg`, `batch`,
            `lr`, `decay_nimg`, `p_mean`, `p_std`, `ema_stds`, `snapshot_nimg`, and where they are wanted `microbatch` and
            `rampup_nimg`; counts are integers.
        tree: the density.
        make: makes the net from its arguments and a `generator`.
        seeds: how many will be trained.
        group: the processes that train together; alone on the CPU when None.
        compile: compile the general step.
        kernels: use the kernels of the 2D example's net where they fit; compiled where that pays and a C++ compiler is installed.
    """

    interleaved = True

    def __init__(
        self,
        config: Mapping[str, Any],
        tree: Toy2d,
        make: Callable[..., nn.Module],
        seeds: int,
        *,
        group: TrainingGroup | None = None,
        compile: bool = False,
        kernels: bool = True,
    ) -> None:
        self.config, self.group = config, group or TrainingGroup()
        self.key: dict[str, Any] = {"loss": "exact_score"}
        self.about = {"classes": config["classes"]}
        self._tree, self._make, self._compile = tree, make, compile
        self._worth = config["nimg"] * seeds >= _WORTH_COMPILING
        self._alone = kernels and self.group.size == 1 and self.group.device.type == "cpu"
        self.kernels: Kernels | None = None

    def start(self, seed: int, resumed: bool) -> Started:
        """The trainer of a seed, before its first iteration."""
        described = dict(self.config["net"])
        arguments = {key: value for key, value in described.items() if key != "name"}
        net = build(self._make, described["name"], arguments, stream("toy weights", seed)).train()
        return Started(self._trainer(net, seed), net, described, str(self.config["classes"]))

    def _trainer(self, net: nn.Module, seed: int) -> Stepping:
        config = self.config
        if self._alone and type(net) is ToyDenoiser:
            if self.kernels is None:
                kernels = Kernels.build(net, self._tree, config)
                self.kernels = kernels.compiled() if self._worth else kernels
            return KernelTrainer(self.kernels, net, config, seed)
        objective = ExactScore(net.to(self.group.device), self._tree.lines[torch.float32])
        examples = FreshPoints(self._tree, config, seed)
        return Trainer(net, examples, config, objective, self.group, self._compile)


class NoisyPoints(NamedTuple):
    """Points `x [B, 2]` at noise levels `sigma [B]`."""

    x: Tensor
    sigma: Tensor

    def to(self, device: torch.device) -> "NoisyPoints":
        """The same on a device."""
        return NoisyPoints(self.x.to(device), self.sigma.to(device))


class FreshPoints:
    """Points that no batch shares with another: those of a row follow from seed, iteration and row."""

    def __init__(self, tree: Toy2d, config: Mapping[str, Any], seed: int) -> None:
        self.seed, self._mixture, self._config = seed, tree.mixture, config

    def examples(self, iteration: int, rows: range) -> NoisyPoints:
        """Some rows of a batch."""
        config = self._config
        normals = fresh(self.seed, iteration, config["batch"])[rows.start : rows.stop]
        sigma = lognormal_sigma(normals[:, 0], config["p_mean"], config["p_std"])
        return NoisyPoints(self._mixture.sample(normals[:, 1:], sigma), sigma)


class ExactScore(nn.Module):
    """`sigma^2 |score - exact score|^2` of each point, `[B]`: the mean over its coordinates.

    Args:
        net: the denoiser, on its device.
        lines: the density, in float32.
    Source: arXiv:2406.02507, appendix C.
    """

    def __init__(self, net: nn.Module, lines: Lines) -> None:
        super().__init__()
        self.net, self.recipe = net, Recipe("exact_score")
        self._lines = lines.to(torch.float32, next(net.parameters()).device)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Loss `[B]` of points `x [B, 2]` at `sigma [B]`."""
        level = sigma[:, None]
        score: Tensor = (self.net(x, sigma, None) - x) / level**2
        return (level * (line_sums(x, sigma, self._lines)[1] - score)).square().mean(1)
