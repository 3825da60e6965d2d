"""Write a finished run as an RO-Crate."""
