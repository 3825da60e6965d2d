"""From a printed number back to its data (`trail`), and a run described for an archive (`crate`)."""
