"""Kills at random moments, and the same tables at the end: `python -m tests.chaos --help`."""
