"""The jobs of divergences: graders of real against real, estimates along sigma, their table and figures."""

from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.jobs import Job, RunJobs
from guidelab.layout import Run
from guidelab.spec.divergences import Divergences

REAL_VS_REAL = "real_vs_real"  # the point of the rows in which real points stand in the place of samples


class DivergenceJobs(RunJobs):
    """From graders to divergences, one method for each rule."""

    @property
    def _asked(self) -> Divergences:
        if self.spec.divergences is None:
            raise UserError(
                f"{self.name}: `divergences` is not given; wanted it, with a grader and its held-out fold"
            )
        return self.spec.divergences

    def _graded_seeds(self, run: Run) -> list[int]:
        """The training seeds whose sampler has a grader."""
        grader = self.spec.discriminators[self._asked.grader]
        return [s for s in run.seeds if s in (grader.train_seeds or run.seeds)]

    def _estimate(self) -> dict[str, Any]:
        """What all estimates of an experiment share."""
        asked, grader = self._asked, self.spec.discriminators[self._asked.grader]
        kept = asked.model_dump(exclude={"theorem", "null_real", "real", "blocks", "calibrate"})
        about = {"experiment": self.name, "scale": self.spec.scale, "sampler": self.spec.sampler.model_dump()}
        sigmas = [grader.train.sigma_min, grader.train.sigma_max]
        about |= {"report": asked.blocks, "calibrate": asked.calibrate, "reference_split": asked.real}
        return about | {"dataset": self.spec.dataset.model_dump(), "estimate": kept, "sigmas": sigmas}

    def null(self) -> Job:
        """Train the grader of the null: its own real fold against another."""
        asked = self._asked
        if asked.null_real is None:
            raise UserError(
                f"{self.name}: divergences.null_real is not given; wanted a second fold of real data"
            )
        grader = self.spec.discriminators[asked.grader]
        inputs = {"real": (self.fold(grader.real),), "other": (self.fold(asked.null_real),)}
        spec = {"disc": asked.grader, "net": grader.net.model_dump(), "train": grader.train.model_dump()}
        modules = (registry.NETS[grader.net.name].module, "guidelab.train.discriminator")
        return Job("null", inputs, tuple(self.null_grader), spec, modules)

    def diverge(self, variant: str, w: str, part: str) -> Job:
        """Every estimate of one point, each beside its truth."""
        asked, run = self._asked, self._run(variant, w, part)
        seeds = self._graded_seeds(run)
        if asked.grader not in self.graded(run):
            raise UserError(
                f"{self.name}: {run.point} has no grader; wanted it among discriminators.{asked.grader}.points"
            )
        blocks = {name: self._blocks[name] for name in (*asked.blocks, asked.calibrate)}
        spec = self._sampler_spec(run) | self._estimate()
        spec |= {"point": run.point, "train_seeds": seeds}
        inputs: dict[str, tuple[str, ...]] = {
            "real": (self.fold(asked.real),),
            "samples": (self.samples(run),),
        }
        inputs |= {"grader": (self.at(f"graders/{asked.grader}", run),), **self._net_inputs(run)}
        if self.has_density(variant):
            inputs["density"] = (self.at("density", run),)
        outputs = (self.at("divergences", run, "csv"),)
        return Job("diverge", inputs, outputs, spec | {"blocks": blocks}, self._diverge_modules(run))

    def _diverge_modules(self, *runs: Run) -> tuple[str, ...]:
        grader = self.spec.discriminators[self._asked.grader]
        found = {registry.NETS[grader.net.name].module, registry.DATASETS[self.spec.dataset.name].module}
        return tuple(sorted(found.union(*(self._modules(run) for run in runs))))

    def diverge_null(self) -> Job:
        """The same of real against real: two halves of the held-out fold."""
        asked = self._asked
        inputs = {"real": (self.fold(asked.real),), "grader": tuple(self.null_grader)}
        spec = self._estimate() | {"point": REAL_VS_REAL, "variant": REAL_VS_REAL, "train_seeds": [0]}
        return Job("diverge_null", inputs, tuple(self.null_rows), spec, self._diverge_modules())

    def divergences_job(self) -> Job:
        """Concatenate the rows and print their table."""
        assert self._asked  # says what is missing
        inputs = {"rows": tuple(self.at("divergences", run, "csv") for run in self.diverging)}
        inputs |= {"null": tuple(self.null_rows)} if self.null_rows else {}
        spec = {
            "experiment": self.name,
            "scale": self.spec.scale,
            "points": [r.point for r in self.diverging],
        }
        return Job("divergences", inputs, self.divergences, spec)

    def theorem_job(self) -> Job:
        """The exact table of the SDE and ODE samplers of discriminator guidance on a line."""
        if not self.theorem_table:
            raise UserError(f"{self.name}: divergences.theorem is not given; wanted a list of weights")
        return Job("theorem", {}, tuple(self.theorem_table), {"weights": self._asked.theorem})

    def evaluations_job(self) -> Job:
        """What training scores and training discriminators took, in evaluations of nets, from the runs themselves."""
        asked, discs, variants = self._asked, self.spec.discriminators, self.spec.variants
        graded = {f"{run.point}/{run.part}": run for run in self.diverging if self._graded_seeds(run)}
        used = [variants[run.variant] for run in graded.values()]
        guiding = list(dict.fromkeys(t.disc for variant in used for t in variant.guide if t.disc))
        made = [g for g in guiding if discs[g].role == "guide" and not self.released("discriminators", g)]
        sources = {g: variants[self._source(g).variant] for g in made}
        used += sources.values()
        guiding = list(dict.fromkeys(t.disc for variant in used for t in variant.guide if t.disc))
        models = list(dict.fromkeys(m for variant in used for m in self.models_of(variant)))
        drawn = {name: self._drawn_for_grading(run) for name, run in graded.items()}
        inputs: dict[str, tuple[str, ...]] = {f"model:{m}": (self.model(m),) for m in models}
        inputs |= {f"disc:{g}": (self.guide(g),) for g in guiding}
        inputs |= {f"generated:{g}": (self.generated(g),) for g in sources}
        inputs |= {f"grader:{n}": (self.at(f"graders/{asked.grader}", run),) for n, run in graded.items()}
        inputs |= {f"grading:{name}": (path,) for name, (path, _) in drawn.items()}
        mains = {f"generated:{g}": variant.main for g, variant in sources.items()}
        mains |= {f"grading:{name}": variants[run.variant].main for name, run in graded.items()}
        trainings = {f"generated:{g}": discs[g].train.model_dump() for g in sources}
        trainings |= {f"grading:{name}": discs[asked.grader].train.model_dump() for name in graded}
        spec = {
            "experiment": self.name,
            "scale": self.spec.scale,
            "main": used[0].main,
            "nimg": {m: self.spec.models[m].nimg for m in models},
            "denoisers": {m: self.spec.models[m].denoiser for m in models},
            "mains": mains,
            "drawn_as": {"generated": "generated", "grading": next(iter(drawn.values()))[1]},
            "trainings": trainings,
        }
        nets = [self.spec.denoisers[self.spec.models[m].denoiser].net.name for m in models]
        nets += [discs[g].net.name for g in (*guiding, asked.grader)]
        modules = tuple(sorted({registry.NETS[name].module for name in nets}))
        return Job("evaluations", inputs, tuple(self.costs_table), spec, modules)

    def _drawn_for_grading(self, run: Run) -> tuple[str, str]:
        """The samples a point's grader learnt from: a file, and the block in it."""
        return self.samples(run), self._asked.grader
