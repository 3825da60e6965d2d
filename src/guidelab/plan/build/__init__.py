"""One function a rule, `(experiment, names) -> Job`; the modules are those of workflow/rules/."""
