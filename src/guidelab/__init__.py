"""guidelab: trains, guides, samples and measures diffusion models, with a trail for every number."""

__version__ = "0.1.0"
