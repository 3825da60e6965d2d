"""Slurm, as far as it has to be known: the settings of a site, its queue, what is lost in it, and its time limits."""
