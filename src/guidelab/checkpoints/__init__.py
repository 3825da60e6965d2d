"""Read pretrained checkpoints without executing anything in them, and convert them to this package's parameter names."""
