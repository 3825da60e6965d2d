"""The jobs of an experiment: params.yaml in, jobs out. Nothing is written and nothing is run.

A job is what one Snakemake rule instance runs: its inputs, its outputs, and its own part of the spec as plain
JSON, which is all the command sees.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from guidelab import registry
from guidelab.errors import UserError, closest
from guidelab.layout import Layout, Run, part_name
from guidelab.spec import Model, Spec


@dataclass(frozen=True)
class Job:
    """One command: files in, files out, its part of the spec, and the modules its spec names."""

    rule: str
    inputs: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    spec: dict[str, Any]
    modules: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        """All input files, each once, in order."""
        return list(dict.fromkeys(path for paths in self.inputs.values() for path in paths))

    @property
    def json(self) -> str:
        """What the command is given: the spec and the named inputs, canonical."""
        return json.dumps({**self.spec, "inputs": self.inputs}, sort_keys=True, separators=(",", ":"))


class ExperimentPlan(Layout):
    """The jobs of one experiment, one method for each rule."""

    # ---- parts of a job's spec -----------------------------------------------------------------------------

    def _sampler_spec(self, run: Run) -> dict[str, Any]:
        """Everything that decides what one run samples, but not which seeds."""
        variant = self.spec.variants[run.variant]
        terms = [t.model_dump() | {"weight": run.w if t.weight is None else t.weight} for t in variant.guide]
        return {
            "variant": run.variant,
            "dataset": self.spec.dataset.model_dump(),
            "sampler": self.spec.sampler.model_dump(),
            "main": variant.main,
            "terms": terms,
            "degrade": {m: self.spec.models[m].degrade.model_dump() for m in self.models_of(variant)},
            "train_seeds": list(run.seeds),
        }

    def _net_inputs(self, run: Run) -> dict[str, tuple[str, ...]]:
        variant = self.spec.variants[run.variant]
        inputs = {f"model:{m}": (self.model(m),) for m in self.models_of(variant)}
        return inputs | {f"disc:{t.disc}": (self.guide(t.disc),) for t in variant.guide if t.disc}

    def _modules(self, run: Run) -> tuple[str, ...]:
        variant = self.spec.variants[run.variant]
        found = [registry.METHODS[t.method].module for t in variant.guide]
        found += [
            registry.NETS[self.spec.denoisers[self.spec.models[m].denoiser].net.name].module
            for m in self.models_of(variant)
        ]
        found += [
            registry.NETS[self.spec.discriminators[t.disc].net.name].module for t in variant.guide if t.disc
        ]
        found += [
            registry.SAMPLERS[self.spec.sampler.name].module,
            registry.DATASETS[self.spec.dataset.name].module,
        ]
        return tuple(sorted(set(found)))

    # ---- jobs, one method for each rule --------------------------------------------------------------------

    def prepare(self, fold: str) -> Job:
        """Draw one fold of real data."""
        spec = {"dataset": self.spec.dataset.model_dump(), "fold": fold, **self.spec.folds[fold].model_dump()}
        return Job(
            "prepare", {}, (self.fold(fold),), spec, (registry.DATASETS[self.spec.dataset.name].module,)
        )

    def train(self, denoiser: str, part: str) -> Job:
        """Train one denoiser with some of its seeds, keeping snapshots."""
        d = self.spec.denoisers[denoiser]
        seeds = next((p for p in self.parts(denoiser) if part_name(p) == part), None)
        if seeds is None:
            raise UserError(
                f"{self.name}: {denoiser} has no part {part!r}; wanted {[part_name(p) for p in self.parts(denoiser)]}"
            )
        train = {k: v for k, v in d.train.model_dump().items() if k not in ("seeds", "seeds_per_job")}
        stem = f"{self.root}/checkpoints/{denoiser}/{part}"
        spec = {
            "net": d.net.model_dump(),
            "dataset": {"name": self.spec.dataset.name, "classes": d.classes},
            "train": train,
            "seeds": list(seeds),
        }
        modules = (
            registry.NETS[d.net.name].module,
            registry.TRAINERS[d.net.name].module,
            registry.DATASETS[self.spec.dataset.name].module,
        )
        return Job("train", {}, (f"{stem}.safetensors", f"{stem}.csv"), spec, modules)

    def reconstruct(self, model: str) -> Job:
        """Take a model's nets from the snapshots, at its training length and EMA length."""
        m: Model = self.spec.models[model]
        spec = {"model": model, "nimg": m.nimg, "ema_std": m.ema_std}
        return Job("reconstruct", {"checkpoints": self.checkpoints(m.denoiser)}, (self.model(model),), spec)

    def generate(self, disc: str) -> Job:
        """Draw the generated side of a guiding discriminator."""
        d = self.spec.discriminators[disc]
        run = self._source(disc)
        spec = self._sampler_spec(run) | {"blocks": {"generated": list(d.generated.seeds)}}
        output = f"{self.root}/generated/{disc}.safetensors"
        return Job("generate", self._net_inputs(run), (output,), spec, self._modules(run))

    def _source(self, disc: str) -> Run:
        d = self.spec.discriminators[disc]
        runs = self.runs_at(d.generated.variant or "")
        seeds = sorted(
            {s for run in runs for s in run.seeds} & set(d.train_seeds or [s for r in runs for s in r.seeds])
        )
        return Run(runs[0].variant, runs[0].w, tuple(seeds))

    def discriminate(self, disc: str) -> Job:
        """Train a guiding discriminator for each training seed of the sampler it corrects."""
        d = self.spec.discriminators[disc]
        inputs = {"real": (self.fold(d.real),), "generated": self.generate(disc).outputs}
        return self._discriminator_job(
            "discriminate", disc, inputs, self._source(disc).seeds, self.guide(disc)
        )

    def _discriminator_job(
        self, rule: str, disc: str, inputs: dict[str, tuple[str, ...]], seeds: Iterable[int], output: str
    ) -> Job:
        d = self.spec.discriminators[disc]
        spec = {
            "disc": disc,
            "net": d.net.model_dump(),
            "train": d.train.model_dump(),
            "train_seeds": list(seeds),
        }
        return Job(
            rule, inputs, (output,), spec, (registry.NETS[d.net.name].module, "guidelab.train.discriminator")
        )

    def sample(self, variant: str, w: str, part: str) -> Job:
        """Draw every seed block of one point, and the grader's block where a grader grades it."""
        run = self._run(variant, w, part)
        spec = self._sampler_spec(run) | {"blocks": self._blocks, "grader_blocks": {}}
        for name in self.graded(run):  # a grader's samples are its own: no metric sees them
            grader = self.spec.discriminators[name]
            seeds = [s for s in run.seeds if s in (grader.train_seeds or run.seeds)]
            spec["grader_blocks"][name] = {"seeds": list(grader.generated.seeds), "train_seeds": seeds}
        return Job("sample", self._net_inputs(run), (self.at("samples", run),), spec, self._modules(run))

    @property
    def _blocks(self) -> dict[str, list[int]]:
        return {name: list(seeds) for name, seeds in self.spec.evaluate.blocks.items()}

    def _run(self, variant: str, w: str, part: str) -> Run:
        for run in self.runs_at(f"{variant}/{w}"):
            if run.part == part:
                return run
        raise UserError(
            f"{self.name}: {variant}/{w} has no part {part!r}; wanted {[r.part for r in self.runs_at(f'{variant}/{w}')]}"
        )

    def density(self, variant: str, w: str, part: str) -> Job:
        """Exact log-densities of data and of samples under the sampler's ODE."""
        run, density = self._run(variant, w, part), self.spec.evaluate.density
        if density is None:
            raise UserError(
                f"{self.name}: evaluate.density is not given; wanted `density: {{n: ..., steps: ...}}`"
            )
        spec = self._sampler_spec(run) | {"density": density.model_dump(), "blocks": self._blocks}
        return Job("density", self._net_inputs(run), (self.at("density", run),), spec, self._modules(run))

    def grade(self, disc: str, variant: str, w: str, part: str) -> Job:
        """Train the discriminator that grades one point, on samples and real data of its own."""
        run, d = self._run(variant, w, part), self.spec.discriminators[disc]
        seeds = [s for s in run.seeds if s in (d.train_seeds or run.seeds)]
        inputs = {"real": (self.fold(d.real),), "generated": (self.at("samples", run),)}
        return self._discriminator_job("grade", disc, inputs, seeds, self.at(f"graders/{disc}", run))

    def measure(self, variant: str, w: str, part: str) -> Job:
        """All numbers of one point: one row each."""
        run, e = self._run(variant, w, part), self.spec
        used = e.variants[variant]
        swept = next((t for t in used.guide if t.weight is None), None)
        inputs = {"samples": (self.at("samples", run),), "reference": (self.fold("reference"),)}
        if self.has_density(variant):
            inputs["density"] = (self.at("density", run),)
        inputs |= {f"grader:{g}": (self.at(f"graders/{g}", run),) for g in self.graded(run)}
        spec = {
            "row": {
                "experiment": self.name,
                "scale": e.scale,
                "variant": variant,
                "method": "+".join(t.method for t in used.guide) or "none",
                "ref": "+".join(t.ref or t.disc or "" for t in used.guide),
                "w": 1.0 if run.w is None else run.w,
                "w_neutral": registry.METHODS[swept.method].neutral if swept else 1.0,
                "w_effective": (run.w or 1.0) * (0.5 if swept and swept.stages == "first" else 1.0),
                "sigma_lo": swept.sigma_lo if swept else 0.0,
                "sigma_hi": (swept.sigma_hi if swept else None) or e.sampler.sigma_max,
            },
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
        modules |= {registry.DIVERGENCES[m].module for m in registry.DIVERGENCES}
        return Job("measure", inputs, (self.at("measurements", run, "csv"),), spec, tuple(sorted(modules)))

    def collect(self) -> Job:
        """Concatenate all rows, choose each variant's weight, and flatten the chosen rows for DVC."""
        ev = self.spec.evaluate
        spec = {
            "experiment": self.name,
            "select_block": ev.select_block,
            "select_metric": ev.select_metric,
            "headline": self._headline,
        }
        return Job(
            "collect",
            {"rows": tuple(self.at("measurements", r, "csv") for r in self.runs)},
            self.collected,
            spec,
        )

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
                inputs[f"samples:{run.point}"] = (self.at("samples", run),)
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
        inputs = {
            "measurements": (self.collected[0],),
            "selected": (self.collected[1],),
            "metrics": ("workflow/resources/metrics.csv",),
        }
        return Job("table", inputs, self.table, spec, ("guidelab.paper.tables",))

    def figure_job(self, figure: str) -> Job:
        """One figure: PDF, PNG and the rows it plots."""
        f = getattr(self.spec.paper.figures, figure, None)
        if f is None:
            raise UserError(
                f"{self.name}: no figure {figure!r}; wanted one of {', '.join(self.figures)}{closest(figure, self.figures)}"
            )
        spec = {
            "experiment": self.name,
            "scale": self.spec.scale,
            "figure": figure,
            "settings": f.model_dump(),
        }
        if figure == "sweep":
            inputs = {
                "measurements": (self.collected[0],),
                "selected": (self.collected[1],),
                "metrics": ("workflow/resources/metrics.csv",),
            }
        else:
            inputs = {"fields": (self.fields(figure),)}
        return Job("figure", inputs, self.figure(figure), spec, (registry.FIGURES[figure].module,))

    def story_job(self) -> Job:
        """What the numbers say, in words, beside what the paper's pictures suggest."""
        inputs = {"measurements": (self.collected[0],), "selected": (self.collected[1],)}
        return Job(
            "story",
            inputs,
            (f"results/tables/{self.name}_story.md",),
            {"experiment": self.name, "scale": self.spec.scale},
        )


class Plan:
    """All experiments of a spec."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._jobs = lru_cache(maxsize=None)(self._job)

    @cache  # noqa: B019 - a plan lives as long as the process
    def experiment(self, name: str) -> ExperimentPlan:
        """The plan of one experiment.

        Raises:
            UserError: no such experiment; names the closest.
        """
        known = list(self.spec.experiments)
        if name not in known:
            raise UserError(
                f"params.yaml: no experiment {name!r}; wanted one of {', '.join(known)}{closest(name, known)}"
            )
        return ExperimentPlan(name, self.spec.experiments[name])

    def job(self, rule: str, experiment: str, *arguments: str) -> Job:
        """The job of a rule, cached: `job("sample", "toy2d", "cfg", "w4.00", "seeds0-4")`."""
        return self._jobs(rule, experiment, *arguments)

    def _job(self, rule: str, experiment: str, *arguments: str) -> Job:
        plan = self.experiment(experiment)
        method = {"table": "table_job", "figure": "figure_job", "story": "story_job"}.get(rule, rule)
        return getattr(plan, method)(*arguments)  # type: ignore[no-any-return]
