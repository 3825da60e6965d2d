"""Estimate the cost of targets before they run: jobs, network evaluations, FLOP, GPU-hours, memory, disk."""
