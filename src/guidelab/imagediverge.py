"""The jobs of divergences on images: graders with samples of their own, estimates in pixels and in features."""

from dataclasses import replace
from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.experiment import ExperimentPlan
from guidelab.jobs import Job
from guidelab.layout import Run
from guidelab.spec import ImageDataset


class ImageDivergenceJobs(ExperimentPlan):
    """What the rules of divergences run where samples are images."""

    def grading(self, disc: str, variant: str, w: str, part: str) -> Job:
        """Draw the samples a grader is trained on: of its own seeds, for no other purpose."""
        run, d = self._run(variant, w, part), self.spec.discriminators[disc]
        if disc not in self.graded(run):
            raise UserError(f"{self.name}: {run.point} is not graded by {disc}; wanted one of {d.points}")
        spec = self._sampler_spec(run) | {"blocks": {"generated": list(d.drawn.seeds)}, "uint8": "edm"}
        output = (self.graded_samples(disc, run),)
        return Job("grading", self._net_inputs(run), output, spec, self._modules(run))

    def grade(self, disc: str, variant: str, w: str, part: str) -> Job:
        """Train the discriminator that grades one point, on samples and real images of its own."""
        run, d = self._run(variant, w, part), self.spec.discriminators[disc]
        inputs = {"real": (self.fold(d.real),), "generated": (self.graded_samples(disc, run),)}
        seeds = [s for s in run.seeds if s in (d.train_seeds or run.seeds)]
        spec = self._grader_spec(disc) | {"train_seeds": seeds}
        modules = (registry.NETS[d.net.name].module,)
        return Job("grade", inputs, (self.at(f"graders/{disc}", run),), spec, modules, "images.discriminate")

    def _grader_spec(self, disc: str) -> dict[str, Any]:
        d, dataset = self.spec.discriminators[disc], self.spec.dataset
        assert isinstance(dataset, ImageDataset)  # that is what this plan is for
        net = {k: v for k, v in d.net.model_dump().items() if v is not None}
        return {
            "disc": disc,
            "role": d.role,
            "net": net,
            "train": d.train.model_dump(),
            "classes": dataset.classes,
        }

    def null(self) -> Job:
        """Train the grader of the null: as many images of the graders' own fold as a grader has samples, against the rest."""
        asked = self._asked
        d = self.spec.discriminators[asked.grader]
        first, last = d.drawn.seeds
        spec = self._grader_spec(asked.grader) | {"apart": last - first + 1, "train_seeds": [0]}
        modules = (registry.NETS[d.net.name].module,)
        inputs = {"real": (self.fold(d.real),)}
        return Job("null", inputs, tuple(self.null_grader), spec, modules, "images.null")

    def diverge(self, variant: str, w: str, part: str) -> Job:
        """Every estimate of one point, in pixels along sigma and in every feature space."""
        job, run = super().diverge(variant, w, part), self._run(variant, w, part)
        inputs = dict(job.inputs)
        for name in self.spec.features:
            inputs[f"features:{name}"] = (self.features(name, f"{run.point}/{run.part}"),)
            inputs[f"reference:{name}"] = (self.features(name, f"data/{self._asked.real}"),)
        spec = job.spec | {"spaces": list(self.spec.features)}
        return replace(job, inputs=inputs, spec=spec, command="images.diverge")

    def diverge_null(self) -> Job:
        """The same of real against real: parts of the held-out fold, of the sizes a sampler's blocks have."""
        job, run = super().diverge_null(), self.diverging[0]
        asked = self._asked
        bare = self._sampler_spec(Run(run.variant, run.w, (run.seeds[0],)))
        main = bare["main"]
        kept = {key: bare[key] for key in ("main", "discs", "labels")}
        spec = job.spec | kept | {"terms": [], "degrade": {main: bare["degrade"][main]}, "discs": {}}
        spec |= {
            "spaces": list(self.spec.features),
            "blocks": {name: self._blocks[name] for name in (*asked.blocks, asked.calibrate)},
            "train_seeds": [run.seeds[0]],
        }
        inputs = {**job.inputs, f"model:{main}": (self.model(main),)}
        inputs |= {
            f"reference:{name}": (self.features(name, f"data/{asked.real}"),) for name in self.spec.features
        }
        modules = tuple(sorted({*job.modules, *self._modules(run)}))
        return replace(job, inputs=inputs, spec=spec, modules=modules, command="images.diverge")

    def _diverge_modules(self, *runs: Run) -> tuple[str, ...]:
        """Nets only: what the images are of, the files say."""
        net = self.spec.discriminators[self._asked.grader].net.name
        found = {registry.NETS[net].module}
        return tuple(sorted(found.union(*(self._modules(run) for run in runs))))

    def divergences_job(self) -> Job:
        """Concatenate the rows and print the table of images."""
        return replace(super().divergences_job(), command="images.divergences")

    def _drawn_for_grading(self, run: Run) -> tuple[str, str]:
        """A manifest of their own."""
        return self.graded_samples(self._asked.grader, run), "generated"
