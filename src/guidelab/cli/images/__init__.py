"""Jobs of image experiments, one module each."""
