"""A sampler's divergences along sigma, estimated by a grader on held-out examples, whatever the examples are."""
