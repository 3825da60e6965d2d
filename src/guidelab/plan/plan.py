"""The plan: every experiment of params.yaml, with every job looked up by its rule and names."""

from dataclasses import replace

from guidelab.digest import code_digest
from guidelab.errors import UserError
from guidelab.nearest import one_of
from guidelab.plan.job import Job
from guidelab.plan.rules import RULES
from guidelab.plan.runs import PlannedExperiment
from guidelab.plan.stage import Stage
from guidelab.plan.stages import stages_of
from guidelab.spec import Spec


class Plan:
    """All experiments of a spec."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._experiments: dict[str, PlannedExperiment] = {}
        self._jobs: dict[tuple[str, ...], Job] = {}
        self._stages: dict[str, list[Stage]] = {}

    def experiment(self, name: str) -> PlannedExperiment:
        """One experiment with its runs and paths.

        Raises:
            UserError: no such experiment; names the closest.
        """
        if name not in self._experiments:
            known = list(self.spec.experiments)
            if name not in known:
                raise UserError(f"params.yaml: no experiment {name!r}; wanted {one_of(name, known)}")
            self._experiments[name] = PlannedExperiment(name, self.spec.experiments[name])
        return self._experiments[name]

    def job(self, rule: str, experiment: str, *names: str) -> Job:
        """The job of a rule, cached: `job("sample", "toy2d", "cfg", "w4.00", "seeds0-4")`.

        Raises:
            UserError: no such rule or experiment, or params.yaml plans no such job; names the closest.
        """
        key = (rule, experiment, *names)
        if key not in self._jobs:
            e = self.experiment(experiment)
            if rule not in RULES:
                raise UserError(f"{experiment}: no rule {rule!r}; wanted {one_of(rule, RULES)}")
            if names not in e.possible(rule):
                raise UserError(_unplanned(e, rule, names))
            self._jobs[key] = replace(
                RULES[rule].build(e, *names), rule=rule, outputs=e.outputs(rule, *names)
            )
        return self._jobs[key]

    def payload(self, rule: str, experiment: str, *names: str) -> str:
        """The standard input of a job's command: its spec, its inputs and the digest of the code it can reach."""
        job = self.job(rule, experiment, *names)
        return job.payload(code_digest(RULES[rule].entry, job.modules))

    def stages(self, experiment: str) -> list[Stage]:
        """The stages of an experiment that DVC tracks, in the order they are made."""
        if experiment not in self._stages:
            self._stages[experiment] = stages_of(self.experiment(experiment))
        return self._stages[experiment]

    def stage(self, experiment: str, name: str) -> Stage:
        """One stage by name.

        Raises:
            UserError: no such stage; names the closest.
        """
        found = {stage.name: stage for stage in self.stages(experiment)}
        if name not in found:
            raise UserError(f"{experiment}: no stage {name!r}; wanted {one_of(name, found)}")
        return found[name]


def _unplanned(e: PlannedExperiment, rule: str, names: tuple[str, ...]) -> str:
    """What is wrong with the names of a job that params.yaml does not plan."""
    known, when = ["/".join(found) for found in e.possible(rule)], RULES[rule].when
    reason = f" where {when}" if when else ""
    if not known:
        return f"{e.name}: has no jobs of {rule}; there are some{reason}"
    given = "/".join(names)
    return f"{e.name}: plans no {rule} {given!r}; wanted {one_of(given, known)}" + (
        f"; jobs of {rule} are planned{reason}" if when else ""
    )
