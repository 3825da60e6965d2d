"""The plan of params.yaml: the table of rules, one builder function a rule, and all that is derived from them."""
