"""Training loops over core: seeded by arguments, resumable, without constants of science."""
