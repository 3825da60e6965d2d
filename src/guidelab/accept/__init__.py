"""`guidelab accept`: a change of code that leaves results as they were, proven by replay and recorded."""
