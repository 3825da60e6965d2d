"""One sampler per file."""

from guidelab.core.samplers.heun import Churn, heun

__all__ = ["Churn", "heun"]
