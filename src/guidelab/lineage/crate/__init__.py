"""A finished run as an RO-Crate."""
