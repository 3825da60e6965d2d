"""Arrays in, numbers with their uncertainty out: no files, no choice of n, no plots."""
