"""Datasets: where points come from, and the exact density when it is known."""
