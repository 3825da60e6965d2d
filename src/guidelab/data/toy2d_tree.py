"""The two-dimensional fractal tree of the autoguidance paper: a mixture of Gaussians, and draws of it.

Source: Karras et al. 2024, arXiv:2406.02507, appendix C.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidelab.core.gaussians import Gaussians
from guidelab.core.noise import SeededNoise

_CLASSES = ("A", "B")


@dataclass(frozen=True)
class Shape:
    """Constants of the tree; the defaults are the paper's (arXiv:2406.02507, appendix C, and its released code)."""

    seed: int = 2
    depth: int = 6  # of the leaves; the trunk has depth 0
    per_branch: int = 8  # Gaussians along a branch
    first_angle_rad: float = math.pi / 4  # of class A; class B grows the opposite way
    origin: tuple[float, float] = (0.0030, 0.0325)
    scale: tuple[float, float] = (1.3136, 1.3844)
    length: float = 0.292
    length_decay: float = 0.8
    weight_decay: float = 0.5
    thickness: float = 0.2
    jitter: float = 0.2  # relative, of lengths and angles
    spread_rad: float = 1.0  # angle between a trunk and its children
    spread_decay: float = 0.7
    ends: tuple[float, float] = (0.07, 0.93)  # first and last Gaussian, in branch lengths
    size: float = 0.06  # standard deviation along a branch, in branch lengths


@dataclass(frozen=True)
class Tree:
    """One or both classes of the tree: components, and samples at every noise level.

    Attributes:
        classes: `A`, `B` or `AB`.
        weights: `[K]`, sum 1. means: `[K, 2]`. covs: `[K, 2, 2]`; all float64.
        branch: `[K]` int64, which branch a Gaussian belongs to, counted from 0 in the order they grow.
        depth: `[K]` int64, 0 for the trunk. label: `[K]` int64, 0 for class A and 1 for class B.
    """

    classes: str
    weights: Tensor
    means: Tensor
    covs: Tensor
    branch: Tensor
    depth: Tensor
    label: Tensor

    @cached_property
    def mixture(self) -> Gaussians:
        """The same as general Gaussians, in float32; `.mixture.to(torch.float64)` for float64."""
        return Gaussians(self.weights, self.means, self.covs)

    def sample(self, z: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Points `[N, 2]` at noise level `sigma` from standard normals `z [N, 3]`, each from its own row alone."""
        return self.mixture.sample(z, sigma)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` points of the data, `[n, 2]` float32."""
        return self.sample(torch.randn(n, 3, generator=generator))

    def start(self, noise: SeededNoise, sigma: float) -> Tensor:
        """Points `[B, 2]` at noise level `sigma`, each from its own seed: what the sampler starts from.

        The exact smoothed mixture rather than N(0, sigma^2), as in the paper's example (arXiv:2406.02507, app. C).
        """
        return self.sample(noise.randn((3,)), sigma)


@dataclass(frozen=True)
class _Branch:
    depth: int
    start: NDArray[np.float64]  # [2], before scaling
    direction: NDArray[np.float64]  # [2], unit
    length: float


def grown(classes: str = "A", shape: Shape = Shape()) -> Tree:
    """Grow the tree.

    Both classes are always grown, from one random stream, so class B is the same for every caller.

    Args:
        classes: `A`, `B` or `AB`.
        shape: constants of the tree.
    Raises:
        ValueError: other classes.
    Source: arXiv:2406.02507, appendix C; the order of the random numbers is that of the released example.
    """
    if classes not in ("A", "B", "AB"):
        raise ValueError(f"toy2d: given classes {classes!r}, wanted 'A', 'B' or 'AB'")
    random = np.random.RandomState(shape.seed)
    origin = np.array(shape.origin)
    trees = {
        name: _grow(random, shape, 0, origin, shape.first_angle_rad + math.pi * index)
        for index, name in enumerate(_CLASSES)
    }
    return _components(
        classes, [(_CLASSES.index(name), branch) for name in classes for branch in trees[name]], shape
    )


def _grow(
    random: np.random.RandomState, shape: Shape, depth: int, start: NDArray[np.float64], angle: float
) -> list[_Branch]:
    """One branch and everything that grows from it, depth first.

    The stream is part of the definition: one number for the length, then one for the angle of each child just
    before that child; leaves draw their two angles too, although nothing grows there.
    """
    length = shape.length * shape.length_decay**depth * (1 + shape.jitter * random.randn())
    direction = np.array([math.cos(angle), math.sin(angle)])
    grown = [_Branch(depth, start, direction, length)]
    for sign in (1, -1):
        turn = shape.spread_rad * shape.spread_decay**depth * (1 + shape.jitter * random.randn())
        if depth < shape.depth:
            grown += _grow(random, shape, depth + 1, start + direction * length, angle + sign * turn)
    return grown


def _components(classes: str, branches: list[tuple[int, _Branch]], shape: Shape) -> Tree:
    """The Gaussians of the branches, equally spaced along each."""
    scale = np.array(shape.scale)
    along = np.linspace(*shape.ends, shape.per_branch)
    weights, means, covs = [], [], []
    for _, b in branches:
        line = np.outer(b.direction, b.direction)
        thickness = shape.thickness * shape.length_decay**b.depth / b.length  # across, relative to along
        deviation = scale * b.length * shape.size
        covs.append((line + (np.eye(2) - line) * thickness**2) * np.outer(deviation, deviation))
        means.append((b.start + np.outer(along, b.direction) * b.length) * scale)
        weights.append(b.length * shape.weight_decay**b.depth)

    def each(values: list[int] | NDArray[np.int64]) -> Tensor:
        return torch.as_tensor(values).repeat_interleave(shape.per_branch, dim=0)

    raw = torch.tensor(weights, dtype=torch.float64).repeat_interleave(shape.per_branch)
    return Tree(
        classes=classes,
        weights=raw / raw.sum(),
        means=torch.from_numpy(np.concatenate(means)),
        covs=torch.from_numpy(np.stack(covs)).repeat_interleave(shape.per_branch, dim=0),
        branch=each(np.arange(len(branches))),
        depth=each([b.depth for _, b in branches]),
        label=each([label for label, _ in branches]),
    )
