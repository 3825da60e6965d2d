"""Jobs at the papers' size: released weights, latents, devices, streams too large for memory."""
