"""What runs jobs: locks, restart after a kill, finished outputs, planned stops, Slurm."""
