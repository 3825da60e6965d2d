"""Synthetic images and checkpoints in the real formats, to run an experiment without data or pretrained weights."""
