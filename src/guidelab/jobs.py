"""Jobs from data to samples: params.yaml in, jobs out. Nothing is written and nothing is run.

A job is what one Snakemake rule instance runs: its inputs, its outputs, and its own part of the spec as plain
JSON, which is all the command sees.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.layout import Layout, Run, part_name
from guidelab.spec import Model

Files = Mapping[str, tuple[str, ...]]  # a name and the files that go by it


@dataclass(frozen=True)
class Job:
    """One command: files in, files out, its part of the spec, and the modules its spec names."""

    rule: str
    inputs: Files
    outputs: tuple[str, ...]
    spec: dict[str, Any]
    modules: tuple[str, ...] = ()
    command: str = ""  # the module under cli/ when it is not the rule's own

    @property
    def files(self) -> list[str]:
        """All input files, each once, in order."""
        return list(dict.fromkeys(path for paths in self.inputs.values() for path in paths))

    def payload(self, code: str) -> str:
        """What the command is given, canonical: the spec, the named inputs and the digest of the code it runs."""
        content = {**self.spec, "inputs": self.inputs, "code": code}
        content |= {"command": self.command} if self.command else {}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))


class RunJobs(Layout):
    """From data to samples, log-densities and graders, one method for each rule."""

    # ---- parts of a job's spec -----------------------------------------------------------------------------

    def _sampler_spec(self, run: Run) -> dict[str, Any]:
        """Everything that decides what one run samples, but not which seeds."""
        variant, models = self.spec.variants[run.variant], self.spec.models
        terms = [t.model_dump() | {"weight": run.w if t.weight is None else t.weight} for t in variant.guide]
        steps = {"steps": variant.steps} if variant.steps else {}
        return {
            "variant": run.variant,
            "dataset": self.spec.dataset.model_dump(),
            "sampler": (variant.sampler or self.spec.sampler).model_dump() | steps,
            **self.spec.sampling.model_dump(),
            "codec": self._codec(run),
            "unlabelled": [m for m in self.models_of(variant) if models[m].unlabelled],
            "main": variant.main,
            "terms": terms,
            "degrade": {m: models[m].degrade.model_dump() for m in self.models_of(variant)},
            "train_seeds": list(run.seeds),
        }

    def _codec(self, run: Run) -> str:
        """How samples are stored: points, pixels or latents."""
        return "points"

    def _net_inputs(self, run: Run) -> Files:
        variant = self.spec.variants[run.variant]
        inputs = {f"model:{m}": (self.model(m),) for m in self.models_of(variant)}
        return {**inputs, **{f"disc:{t.disc}": (self.guide(t.disc),) for t in variant.guide if t.disc}}

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
            registry.SAMPLERS[(variant.sampler or self.spec.sampler).name].module,
            registry.CODECS[self._codec(run)].module,
            registry.DATASETS[self.spec.dataset.name].module,
        ]
        return tuple(sorted(set(found)))

    # ---- jobs, one method for each rule --------------------------------------------------------------------

    def prepare(self, fold: str) -> Job:
        """Draw one fold of real data."""
        spec = {"dataset": self.spec.dataset.model_dump(), "fold": fold, **self.spec.folds[fold].model_dump()}
        name = self.spec.dataset.name
        modules = [found[name].module for found in (registry.DATASETS, registry.FACTS) if name in found]
        return Job("prepare", {}, (self.fold(fold),), spec, tuple(modules))

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
            self._trainer(d.net.name),
            registry.DATASETS[self.spec.dataset.name].module,
        )
        return Job("train", {}, (f"{stem}.safetensors", f"{stem}.csv"), spec, modules)

    def _trainer(self, net: str) -> str:
        """The module that trains a net."""
        return registry.TRAINERS[net].module

    def reconstruct(self, model: str) -> Job:
        """Take a model's nets from the snapshots, at its training length and EMA length."""
        m: Model = self.spec.models[model]
        spec = {"model": model, "nimg": m.nimg, "ema_std": m.ema_std}
        return Job("reconstruct", {"checkpoints": self.checkpoints(m.denoiser)}, (self.model(model),), spec)

    def generate(self, disc: str) -> Job:
        """Draw the generated side of a guiding discriminator."""
        d = self.spec.discriminators[disc]
        run = self._source(disc)
        spec = self._sampler_spec(run) | {"blocks": {"generated": list(d.drawn.seeds)}}
        return Job("generate", self._net_inputs(run), (self.generated(disc),), spec, self._modules(run))

    def _source(self, disc: str) -> Run:
        d = self.spec.discriminators[disc]
        runs = self.runs_at(d.drawn.variant or "")
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
        self, rule: str, disc: str, inputs: Files, seeds: Iterable[int], output: str
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
            spec["grader_blocks"][name] = {"seeds": list(grader.drawn.seeds), "train_seeds": seeds}
        return Job("sample", self._net_inputs(run), (self.samples(run),), spec, self._modules(run))

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
        inputs = {"real": (self.fold(d.real),), "generated": (self.samples(run),)}
        return self._discriminator_job("grade", disc, inputs, seeds, self.at(f"graders/{disc}", run))
