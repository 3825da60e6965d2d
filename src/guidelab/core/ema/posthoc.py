"""Post-hoc EMA: averages of any length as combinations of stored averages.

Source: Karras et al. 2024, arXiv:2312.02696, section 3 and appendix C.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from guidelab.core.ema.averages import Floats, std_to_gamma


def _inner(ofs_a: Floats, gamma_a: Floats, ofs_b: Floats, gamma_b: Floats) -> Floats:
    """Inner products of normalised profiles that end at `ofs`; broadcasts. Source: arXiv:2312.02696, appendix C."""
    first_ends = ofs_a <= ofs_b
    ratio = np.where(first_ends, ofs_a / ofs_b, ofs_b / ofs_a)  # <= 1
    power = np.where(first_ends, gamma_b, gamma_a)
    numerator = (gamma_a + 1) * (gamma_b + 1) * ratio**power
    return np.asarray(numerator / ((gamma_a + gamma_b + 1) * np.maximum(ofs_a, ofs_b)), dtype=np.float64)


def reconstruct_coefficients(
    in_ofs: ArrayLike, in_std: ArrayLike, out_ofs: ArrayLike, out_std: ArrayLike
) -> Floats:
    """Least-squares coefficients that turn stored averages into averages of other lengths.

    Args:
        in_ofs, in_std: training length (any unit) and relative std of each stored average `[I]`.
        out_ofs, out_std: the same of each wanted average `[O]`.
    Returns:
        `[I, O]` float64; every column sums to 1 (the published code's choice; the paper does not normalise).
    Raises:
        ValueError: the sides of a pair differ in length.
    Source: arXiv:2312.02696, section 3 and appendix C.
    """
    ofs_i, std_i, ofs_o, std_o = (
        np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (in_ofs, in_std, out_ofs, out_std)
    )
    if ofs_i.shape != std_i.shape or ofs_o.shape != std_o.shape or ofs_i.ndim != 1 or ofs_o.ndim != 1:
        raise ValueError(
            f"reconstruct_coefficients: given shapes {ofs_i.shape}, {std_i.shape} and {ofs_o.shape}, {std_o.shape}; "
            "wanted one std per offset, all 1-D"
        )
    gamma_i, gamma_o = std_to_gamma(std_i), std_to_gamma(std_o)
    among = _inner(ofs_i[:, None], gamma_i[:, None], ofs_i, gamma_i)  # [I, I]
    across = _inner(ofs_i[:, None], gamma_i[:, None], ofs_o, gamma_o)  # [I, O]
    solution = np.linalg.solve(among, across)
    return np.asarray(solution / solution.sum(axis=0), dtype=np.float64)


def reconstruct(
    snapshots: Sequence[Mapping[str, Tensor]],
    in_ofs: ArrayLike,
    in_std: ArrayLike,
    out_ofs: float,
    out_std: float,
) -> dict[str, Tensor]:
    """Weights of one average of another length, from stored ones.

    Sums in float64, since short averages have large cancelling coefficients; returns each tensor's own dtype.
    Integer tensors are not averages and come from the snapshot nearest to `out_ofs`.

    Args:
        snapshots: stored averages, name to tensor, in the order of `in_ofs` and `in_std`.
        in_ofs, in_std: as in `reconstruct_coefficients`.
        out_ofs, out_std: training length and relative std of the wanted average.
    Raises:
        ValueError: the number of snapshots is not that of `in_ofs`, or their names differ.
    Source: arXiv:2312.02696, section 3.2.
    """
    offsets = np.atleast_1d(np.asarray(in_ofs, dtype=np.float64))
    if len(snapshots) != len(offsets):
        raise ValueError(
            f"reconstruct: given {len(snapshots)} snapshots for {len(offsets)} offsets, wanted one each"
        )
    names = list(snapshots[0])
    if any(set(snapshot) != set(names) for snapshot in snapshots):
        raise ValueError("reconstruct: the snapshots hold different tensors; wanted the same names in each")
    weights = reconstruct_coefficients(offsets, in_std, [out_ofs], [out_std])[:, 0].tolist()
    nearest = snapshots[int(np.abs(offsets - out_ofs).argmin())]
    averaged = {}
    for name in names:
        if not nearest[name].is_floating_point():
            averaged[name] = nearest[name].clone()
            continue
        total = torch.zeros_like(nearest[name], dtype=torch.float64)
        for weight, snapshot in zip(weights, snapshots, strict=True):
            total += weight * snapshot[name].to(torch.float64)
        averaged[name] = total.to(nearest[name].dtype)
    return averaged
