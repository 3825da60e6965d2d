"""The plan: every experiment of a spec, and the look-up of every job by its rule and names."""

from guidelab.digest import code_digest
from guidelab.errors import UserError
from guidelab.experiment import ExperimentPlan
from guidelab.imageplan import ImagePlan
from guidelab.jobs import Job
from guidelab.largeplan import LargePlan
from guidelab.nearest import one_of
from guidelab.spec import Spec
from guidelab.spec.look import is_large


class Plan:
    """All experiments of a spec."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._plans: dict[str, ExperimentPlan] = {}
        self._jobs: dict[tuple[str, ...], Job] = {}

    def experiment(self, name: str) -> ExperimentPlan:
        """The plan of one experiment.

        Raises:
            UserError: no such experiment; names the closest.
        """
        known = list(self.spec.experiments)
        if name not in known:
            raise UserError(f"params.yaml: no experiment {name!r}; wanted {one_of(name, known)}")
        if name not in self._plans:
            spec = self.spec.experiments[name]
            kind = (LargePlan if is_large(spec) else ImagePlan) if spec.images else ExperimentPlan
            self._plans[name] = kind(name, spec)
        return self._plans[name]

    def payload(self, rule: str, experiment: str, *arguments: str) -> str:
        """What the command of a job is given: its spec, its inputs and the digest of the code it can reach."""
        job = self.job(rule, experiment, *arguments)
        entry = job.command or {"generate": "sample", "grade": "discriminate", "diverge_null": "diverge"}.get(
            rule, rule
        )
        return job.payload(code_digest(entry, job.modules))

    def job(self, rule: str, experiment: str, *arguments: str) -> Job:
        """The job of a rule, cached: `job("sample", "toy2d", "cfg", "w4.00", "seeds0-4")`."""
        key = (rule, experiment, *arguments)
        if key not in self._jobs:
            method = {
                "table": "table_job",
                "figure": "figure_job",
                "story": "story_job",
                "preview": "picture",
                "divergences": "divergences_job",
                "theorem": "theorem_job",
                "evaluations": "evaluations_job",
            }.get(rule, rule)
            if not hasattr(self.experiment(experiment), method):
                raise UserError(
                    f"{experiment}: has no jobs of {rule}: nothing in it is released by others, encoded or made up"
                )
            try:
                self._jobs[key] = getattr(self.experiment(experiment), method)(*arguments)
            except KeyError as error:
                raise UserError(
                    f"{experiment}: {rule} knows no {error.args[0]!r}; `guidelab check` lists what there is"
                ) from None
        return self._jobs[key]
