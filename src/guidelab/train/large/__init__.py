"""Training on data too large for memory, on devices: denoisers, discriminators, classifiers."""
