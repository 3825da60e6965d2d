"""Trace a printed number back to its data (`trail`), and describe a run for an archive (`crate`)."""
