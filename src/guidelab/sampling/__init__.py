"""From seeds to samples, for points, pixels and latents."""
