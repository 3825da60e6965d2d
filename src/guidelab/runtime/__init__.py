"""Execution of jobs: locks, restart after a kill, outputs of orphaned jobs, planned stops, Slurm."""
