"""`guidelab verify`: measured numbers computed again by torch-fidelity."""
