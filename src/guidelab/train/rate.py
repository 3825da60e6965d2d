"""The learning rate of a denoiser's training."""

import math


def learning_rate(seen: int, lr: float, decay_nimg: int, rampup_nimg: int) -> float:
    """Rate of the step after `seen` training images: linear ramp-up, then inverse square root decay.

    Args:
        seen: images seen before the step, so that a ramp begins at 0.
        lr: the highest rate.
        decay_nimg: images after which the rate falls. rampup_nimg: length of the ramp; 0 for none.
    Source: arXiv:2312.02696, eq. 67 and the released code (which ramps over ten million images).
    """
    ramp = min(seen / rampup_nimg, 1.0) if rampup_nimg else 1.0
    return lr * ramp / math.sqrt(max(seen / decay_nimg, 1.0))
