"""Exact facts about points of the 2D example: log-densities of both classes, branch indices, the 99 % region."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from guidelab.data.toy2d import Toy2d, fractal

_REGION_DRAWS = 1 << 18  # the 1 % quantile of log p then has a standard error of about 0.03 nats
_ROWS = 1024


@lru_cache(maxsize=4)
def _tree(classes: str) -> Toy2d:
    return fractal(classes)


def region(classes: str, mass: float = 0.99, seed: int = 99) -> float:
    """Log-density level whose super-level set holds `mass` of the data, from 262,144 exact draws."""
    tree = _tree(classes)
    x = tree.draw(_REGION_DRAWS, torch.Generator().manual_seed(seed))
    log_p = tree.log_density(x).to(torch.float64).sort().values
    return float(log_p[round((1 - mass) * len(log_p))])


def facts(classes: str) -> dict[str, float]:
    """Constants of the density that metrics need, computed once and stored with the reference data."""
    return {"region_level": region(classes), "region_mass": 0.99}


def truth_at(x: Tensor, classes: str) -> dict[str, Any]:
    """Everything the 2D metrics need to know of the points `x [n, 2]`, by the name they know it under.

    Returns:
        log_p_a `[n]`: exact log-density of the requested class; log_p_b `[n]`: of the other class; branch_index
        `[n]`: the branch of the most likely Gaussian; branch_mass `[K]` and branch_depth `[K]`: of the branches.
    Raises:
        ValueError: both classes requested; there is then no other one.
    """
    if classes not in ("A", "B"):
        raise ValueError(f"truth_at: given classes {classes!r}, wanted 'A' or 'B'")
    tree, other = _tree(classes), _tree("B" if classes == "A" else "A")
    safe = torch.nan_to_num(x.to(torch.float64), nan=1e6, posinf=1e6, neginf=-1e6)
    count = int(tree.branch.max()) + 1
    mass = torch.zeros(count, dtype=torch.float64).index_add_(0, tree.branch, tree.weights)
    depth = torch.zeros(count, dtype=torch.int64).scatter_(0, tree.branch, tree.depth)
    return {
        "log_p_a": tree.log_density(safe),
        "log_p_b": other.log_density(safe),
        "branch_index": torch.cat([_branch(tree, part) for part in safe.split(_ROWS)]),  # type: ignore[no-untyped-call]
        "branch_mass": mass,
        "branch_depth": depth,
    }


def _branch(tree: Toy2d, x: Tensor) -> Tensor:
    """Branch `[n]` of the Gaussian with the highest posterior probability at `x [n, 2]`."""
    inverse = torch.linalg.inv(tree.covs)  # [K, 2, 2]
    offset = x[:, None, :] - tree.means  # [n, K, 2]
    distance = torch.einsum("nki,kij,nkj->nk", offset, inverse, offset)
    log_joint = tree.weights.log() - 0.5 * torch.logdet(tree.covs) - 0.5 * distance
    return tree.branch[log_joint.argmax(dim=1)]
