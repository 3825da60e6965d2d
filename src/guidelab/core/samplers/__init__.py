"""One sampler per file."""

from guidelab.core.samplers.churn import Churn
from guidelab.core.samplers.heun import heun

__all__ = ["Churn", "heun"]
