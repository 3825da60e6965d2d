"""The jobs of one experiment that measure and print."""

from functools import cached_property
from typing import Any

from guidelab import registry
from guidelab.divergeplan import DivergenceJobs
from guidelab.errors import UserError
from guidelab.jobs import Files, Job
from guidelab.layout import Run
from guidelab.nearest import one_of
from guidelab.spec import Term, Variant
from guidelab.spec.samplers import CHAINS
from guidelab.stages import Stage
from guidelab.staging import METRICS_INFO, stages_of


class ExperimentPlan(DivergenceJobs):
    """All jobs of one experiment: those of RunJobs and DivergenceJobs, and from measurements to tables and figures."""

    def _row(self, run: Run) -> dict[str, Any]:
        """What every number of a run must know of where it comes from."""
        used = self.spec.variants[run.variant]
        swept = next((t for t in used.guide if t.weight is None), None)
        w = 1.0 if run.w is None else run.w
        neutral = registry.METHODS[swept.method].neutral if swept else 1.0
        return {
            "experiment": self.name,
            "scale": self.spec.scale,
            "variant": run.variant,
            "method": "+".join(t.method for t in used.guide) or "none",
            "ref": "+".join(t.ref or t.disc or "" for t in used.guide),
            "w": w,
            "w_neutral": neutral,
            "w_effective": neutral + (0.5 if swept and self._halved(used, swept) else 1.0) * (w - neutral),
            "sigma_lo": swept.sigma_lo if swept else 0.0,
            "sigma_hi": (swept.sigma_hi if swept else None) or self._highest(used),
        }

    def _halved(self, variant: Variant, term: Term) -> bool:
        """Whether a term acts with half its weight: Heun averages two slopes and corrects one; a chain has one."""
        return term.stages == "first" and (variant.sampler or self.spec.sampler).name not in CHAINS

    def _highest(self, variant: Variant) -> float | None:
        """The noise level a variant's sampler starts from; None for a chain of discrete steps."""
        found: float | None = getattr(variant.sampler or self.spec.sampler, "sigma_max", None)
        return found

    def measure(self, variant: str, w: str, part: str) -> Job:
        """All numbers of one point: one row each."""
        run, e = self._run(variant, w, part), self.spec
        inputs = {"samples": (self.samples(run),), "reference": (self.fold("reference"),)}
        if self.has_density(variant):
            inputs["density"] = (self.at("density", run),)
        inputs |= {f"grader:{g}": (self.at(f"graders/{g}", run),) for g in self.graded(run)}
        spec = {
            "row": self._row(run),
            "dataset": e.dataset.model_dump(),
            "sampler": e.sampler.model_dump(),
            "blocks": self._blocks,
            "metrics": e.evaluate.metrics,
            "neighbours": e.evaluate.neighbours,
            "density_defined": self.has_density(variant),
        }  # fmt: skip
        modules = {registry.METRICS[m].module for m in e.evaluate.metrics} | {
            registry.DATASETS[e.dataset.name].module
        }
        modules |= {registry.TRUTHS[e.dataset.name].module}
        modules |= {registry.NETS[e.discriminators[g].net.name].module for g in self.graded(run)}
        modules |= {registry.DIVERGENCES[m].module for m in registry.DIVERGENCES}
        return Job("measure", inputs, (self.at("measurements", run, "csv"),), spec, tuple(sorted(modules)))

    def measured_in(self, features: str) -> list[str]:
        """Whose features are needed: folds and runs; none where coordinates are measured."""
        return []

    def extract(self, features: str, of: str) -> Job:
        """Features of a fold or of a run: images only."""
        raise UserError(f"{self.name}: is no experiment on images; it has no features {features!r}")

    @property
    def synthetic(self) -> list[str]:
        """The list of made-up files that an experiment of scale smoke runs on; nothing at any other scale."""
        return []

    @property
    def obtains(self) -> list[str]:
        """Everything published by others that is brought into our form."""
        return []

    @property
    def encoded(self) -> list[str]:
        """The folds that nets see as an autoencoder's latents."""
        return []

    @property
    def prepared(self) -> list[str]:
        """The folds of data that are drawn or read."""
        return list(self.spec.folds)

    @property
    def reencoded(self) -> list[str]:
        """The guides that learn from an autoencoder's latents of samples."""
        return []

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """The stages whose files denoisers are trained on; the 2D example's are drawn as they go."""
        return ()

    def picture(self, variant: str, w: str, part: str) -> Job:
        """A few samples as one picture: images only."""
        raise UserError(f"{self.name}: is no experiment on images; points are drawn in its figures")

    def collect(self) -> Job:
        """Concatenate all rows, choose each variant's weight, and flatten the chosen rows for DVC."""
        ev = self.spec.evaluate
        spec = {
            "experiment": self.name,
            "select_block": ev.select_block,
            "select_metric": ev.select_metric,
            "headline": self._headline,
        }
        inputs = {
            "rows": tuple(self.at("measurements", r, "csv") for r in self.runs),
            "metrics": (METRICS_INFO,),
            "guide": tuple(self.guide(name) for name in self.having("guide")),
            "grade": tuple(self.at(f"graders/{g}", r) for r in self.runs for g in self.graded(r)),
        }
        return Job("collect", inputs, self.collected, spec)

    @property
    def _headline(self) -> list[str]:
        return [self.runs_at(p)[0].point for p in self.spec.paper.headline]

    def field(self, figure: str) -> Job:
        """Evaluate nets and samplers on what a figure draws."""
        f = getattr(self.spec.paper.figures, figure, None)
        spec: dict[str, Any] = {
            "figure": figure,
            "settings": f.model_dump() if f else {},
            "dataset": self.spec.dataset.model_dump(),
        }
        inputs: dict[str, tuple[str, ...]] = {}
        modules: set[str] = {registry.DATASETS[self.spec.dataset.name].module}
        runs = [self.runs_at(p)[0] for p in getattr(f, "panels", [])]
        spec["runs"] = {run.point: self._sampler_spec(run) for run in runs}
        for run in runs:
            inputs |= self._net_inputs(run)
            modules |= set(self._modules(run))
            if figure == "fig1":
                inputs[f"samples:{run.point}"] = (self.samples(run),)
        if figure == "fig1":
            spec["block"] = next(b for b in self.spec.evaluate.blocks if b != self.spec.evaluate.select_block)
        for model in (f.main, f.cfg, f.autog) if figure == "fig9" and f else ():
            inputs[f"model:{model}"] = (self.model(model),)
            modules.add(registry.NETS[self.spec.denoisers[self.spec.models[model].denoiser].net.name].module)
        return Job("field", inputs, (self.fields(figure),), spec, tuple(sorted(modules)))

    def table_job(self) -> Job:
        """The experiment's table."""
        spec = {
            "experiment": self.name,
            "scale": self.spec.scale,
            "headline": self._headline,
            "select_metric": self.spec.evaluate.select_metric,
        }
        return Job("table", self._printed, self.table, spec, ("guidelab.paper.tables",))

    def figure_job(self, figure: str) -> Job:
        """One figure: PDF, PNG and the rows it plots."""
        f = getattr(self.spec.paper.figures, figure, None)
        if f is None:
            raise UserError(f"{self.name}: no figure {figure!r}; wanted {one_of(figure, self.figures)}")
        spec = {
            "experiment": self.name,
            "scale": self.spec.scale,
            "figure": figure,
            "settings": f.model_dump(),
        }
        if figure in registry.SIGMA_FIGURES:
            inputs, module = self._sigma_inputs(figure), registry.SIGMA_FIGURES[figure].module
            return Job("figure", inputs, self.figure(figure), spec, (module,), command="sigma.figure")
        if not f.arrays:
            modules = (registry.FIGURES[getattr(f, "name", figure)].module,)
            return Job("figure", self._printed, self.figure(figure), spec, modules)
        inputs = {"fields": (self.fields(figure),)}
        return Job("figure", inputs, self.figure(figure), spec, (registry.FIGURES[figure].module,))

    def _sigma_inputs(self, figure: str) -> Files:
        """The rows of divergences, and for one figure the measurements it sets beside them."""
        beside = self._printed if figure == "divergence_weight" else {}
        return {**beside, "divergences": self.divergences[:1]}

    @property
    def _printed(self) -> Files:
        """What tables, curves and words are made of."""
        measurements, selected = self.collected[:2]
        return {"measurements": (measurements,), "selected": (selected,), "metrics": (METRICS_INFO,)}

    def story_job(self) -> Job:
        """What the numbers say, in words, beside what the paper's pictures suggest."""
        spec = {"experiment": self.name, "scale": self.spec.scale}
        return Job("story", self._printed, (self.story,), spec, ("guidelab.paper.story",))

    def stages(self) -> list[Stage]:
        """The stages DVC tracks, in the order they are made."""
        return self._stages

    @cached_property
    def _stages(self) -> list[Stage]:
        return stages_of(self)

    def stage(self, name: str) -> Stage:
        """One stage by name.

        Raises:
            UserError: no such stage; names the closest.
        """
        found = {stage.name: stage for stage in self.stages()}
        if name not in found:
            raise UserError(f"{self.name}: no stage {name!r}; wanted {one_of(name, found)}")
        return found[name]
