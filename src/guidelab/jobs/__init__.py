"""The jobs of the rules: `run(job, outputs)` of a module loads inputs, computes and saves the outputs."""
