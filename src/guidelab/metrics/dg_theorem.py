"""The discriminator-guidance bound in a case solved exactly: it holds for the SDE sampler and fails for the ODE's.

Data p and model q are Gaussians on a line, the guidance term is w times the exact c = s_p - s_q, and sampling is exact
in time. Every law on the way stays Gaussian, so a mean and a variance are all there is to integrate. With y = sigma^2
and the guided score s_w = -a(y) x + b(y),

    SDE   dm/dy = a m - b,         dV/dy = 2 a V - 1
    ODE   dm/dy = (a m - b) / 2,   dV/dy = a V

run from y = sigma_max^2, where the sampler starts at N(0, sigma_max^2), down to 0. The claim is
KL(p||sampler) <= KL(p_max||N(0, sigma_max^2)) + (1 - w)^2 E, with E the score error of q: Girsanov's theorem for the
SDE's paths; the ODE shares its marginals only while the score is exact. All in nats.

Source: Kim et al. 2023, arXiv:2211.17091, theorem on the gain.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp

from guidelab.metrics.quadrature1d import gaussian_divergence
from guidelab.metrics.value import Float64

_ROUNDING = 1e-9  # nats: a KL above its bound by less counts as equal


@dataclass(frozen=True)
class Gaussian:
    """N(mean, var) on a line."""

    mean: float
    var: float


DATA = Gaussian(0.0, 0.25)
MODEL = Gaussian(0.3, 0.36)
SIGMA_MAX = 80.0  # where samplers start


def theorem_table(
    weights: Iterable[float], *, data: Gaussian = DATA, model: Gaussian = MODEL, sigma_max: float = SIGMA_MAX
) -> pd.DataFrame:
    """One row per guidance weight.

    Returns:
        weight; kl_sde and kl_ode, the exact KL(data||samples); bound; gain = E - (1 - w)^2 E; sde_holds and
        ode_holds, whether each KL is within the bound. Nats.

    Raises:
        ValueError: a variance or sigma_max that is not positive.
    """
    if min(data.var, model.var, sigma_max) <= 0:
        raise ValueError(f"theorem_table: {data}, {model}, sigma_max {sigma_max}; wanted positive variances")
    noise = sigma_max**2
    prior = gaussian_divergence("kl", data.mean, data.var + noise, 0.0, noise)
    at_low = gaussian_divergence("kl", data.mean, data.var, model.mean, model.var)
    at_high = gaussian_divergence("kl", data.mean, data.var + noise, model.mean, model.var + noise)
    error = at_low - at_high  # the integral form of KL, exactly
    rows = []
    for w in weights:
        sde, ode = (
            final_law(w, sde=kind, data=data, model=model, sigma_max=sigma_max) for kind in (True, False)
        )
        kl_sde, kl_ode = (gaussian_divergence("kl", data.mean, data.var, f.mean, f.var) for f in (sde, ode))
        bound = prior + (1 - w) ** 2 * error
        rows.append(
            {
                "weight": float(w),
                "kl_sde": kl_sde,
                "bound": bound,
                "gain": error - (1 - w) ** 2 * error,
                "kl_ode": kl_ode,
                "sde_holds": kl_sde <= bound + _ROUNDING,
                "ode_holds": kl_ode <= bound + _ROUNDING,
            }
        )
    return pd.DataFrame(rows)


def final_law(w: float, *, sde: bool, data: Gaussian, model: Gaussian, sigma_max: float) -> Gaussian:
    """The law of exact samples with the score (1 - w) s_q + w s_p, from N(0, sigma_max^2)."""
    noise = sigma_max**2

    def slope(u: float, state: Float64) -> Float64:
        # u = log(1 + y / least variance) resolves small noise levels; log V keeps the variance positive
        y = least * np.expm1(u)
        pull_p, pull_q = w / (data.var + y), (1 - w) / (model.var + y)
        a, b = pull_p + pull_q, pull_p * data.mean + pull_q * model.mean
        mean, log_var = state
        change = (a * mean - b, 2 * a - np.exp(-log_var)) if sde else (0.5 * (a * mean - b), a)
        return np.asarray(np.asarray(change) * (y + least))

    least = min(data.var, model.var)
    start = float(np.log1p(noise / least))
    found = solve_ivp(slope, (start, 0.0), [0.0, np.log(noise)], method="DOP853", rtol=1e-11, atol=1e-13)
    mean, log_var = found.y[:, -1]
    return Gaussian(float(mean), float(np.exp(log_var)))
