"""From seeds to samples, for points, pixels and latents."""

from guidelab.sampling.blocks import progress, seeds_of

__all__ = ["progress", "seeds_of"]
