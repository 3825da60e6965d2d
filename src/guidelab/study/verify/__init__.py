"""`guidelab verify`: recompute measured numbers with torch-fidelity."""
