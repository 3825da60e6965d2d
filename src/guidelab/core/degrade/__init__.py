"""Degradations at sampling time. Their randomness is a function of (sample seed, step, sigma, salt), without a state.

A sample therefore depends on its own seed alone, for any batch, and a degraded denoiser stays a function:
two evaluations at the same point of the same step give the same answer. The step is part of the key because Heun's
second evaluation has the noise level of the next step's first one: with equal masks the errors of both slopes would
add up instead of averaging out, at up to twice the variance of independent draws.
"""

from guidelab.core.degrade.dropout import Dropout, dropout, dropout_mask
from guidelab.core.degrade.hashed import hashed_normal, hashed_uniform, step_seeds
from guidelab.core.degrade.input_noise import InputNoise, input_noise

__all__ = [
    "Dropout", "InputNoise", "dropout", "dropout_mask", "hashed_normal", "hashed_uniform", "input_noise", "step_seeds",
]  # fmt: skip
