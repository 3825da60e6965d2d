"""Metrics: arrays in, numbers with standard errors out; no files and no plots."""
