"""Power-function averages of weights: any averaging length, chosen after training."""

from guidelab.core.ema.averages import beta, gamma_to_std, std_to_gamma
from guidelab.core.ema.posthoc import reconstruct, reconstruct_coefficients

__all__ = ["beta", "gamma_to_std", "reconstruct", "reconstruct_coefficients", "std_to_gamma"]
