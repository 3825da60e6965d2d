"""Trace a printed number back to its rows, samples, nets and data, and the jobs that made them."""
