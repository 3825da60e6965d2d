"""What a target costs before it is built: jobs, network evaluations, arithmetic, GPU-hours, memory, disk."""
