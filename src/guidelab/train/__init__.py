"""Training loops: seeded by arguments, resumable; hyperparameters come from params.yaml."""
