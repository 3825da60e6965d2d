"""Estimate a sampler's divergences along sigma with a grader on held-out examples: points, images or latents."""
