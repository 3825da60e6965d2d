"""The jobs: one module a rule, whose `run(job, outputs)` loads, calls and saves."""
