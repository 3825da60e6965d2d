"""Power-function averages of weights: their profiles and the decay of an update.

Source: Karras et al. 2024, arXiv:2312.02696, section 3 and appendix C.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
