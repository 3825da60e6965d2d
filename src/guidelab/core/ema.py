"""Power-function averages of weights: any averaging length, chosen after training.

Source: Karras et al. 2024, arXiv:2312.02696, section 3 and appendix C.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def std_to_gamma(std: ArrayLike) -> Floats:
    """Exponents of the profiles `t^gamma` whose relative std is `std`; float64, shaped like `std`.

    Raises:
        ValueError: a std outside (0, 0.2886): no profile with gamma >= 0 is that wide.
    Source: arXiv:2312.02696, appendix C.
    """
    wanted = np.asarray(std, dtype=np.float64)
    if np.any(wanted <= 0) or np.any(wanted > 12**-0.5):
        raise ValueError(f"std_to_gamma: given {wanted.tolist()}, wanted values in (0, {12**-0.5:.4f}]")
    flat = [_largest_root(s**-2) for s in wanted.reshape(-1)]
    return np.asarray(flat, dtype=np.float64).reshape(wanted.shape)


def _largest_root(t: float) -> float:
    """Largest real root of `g^3 + 7 g^2 + (16 - t) g + (12 - t)`; one Newton step removes the solver's rounding."""
    cubic = np.array([1.0, 7.0, 16.0 - t, 12.0 - t])
    root = float(np.roots(cubic).real.max())
    return root - float(np.polyval(cubic, root) / np.polyval(np.polyder(cubic), root))


def gamma_to_std(gamma: ArrayLike) -> Floats:
    """Relative std of the profile `t^gamma`; float64, shaped like `gamma`.

    Source: arXiv:2312.02696, appendix C.
    """
    g = np.asarray(gamma, dtype=np.float64)
    return np.asarray(np.sqrt((g + 1) / ((g + 2) ** 2 * (g + 3))), dtype=np.float64)


def beta(nimg_next: float, delta: float, gamma: ArrayLike) -> Floats:
    """Decay of one update, `ema = beta * ema + (1 - beta) * weights`; float64, shaped like `gamma`.

    Args:
        nimg_next: training images seen after the update.
        delta: images seen since the last one (the batch size); equal to `nimg_next` it gives 0.
        gamma: profile exponents.
    Raises:
        ValueError: not `0 < delta <= nimg_next`.
    Source: arXiv:2312.02696, section 3.
    """
    if not 0 < delta <= nimg_next:
        raise ValueError(f"beta: given nimg_next={nimg_next}, delta={delta}; wanted 0 < delta <= nimg_next")
    return np.asarray((1 - delta / nimg_next) ** (np.asarray(gamma, dtype=np.float64) + 1), dtype=np.float64)


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
