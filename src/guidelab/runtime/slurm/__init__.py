"""Slurm support: site settings, the queue, lost jobs, and time limits."""
