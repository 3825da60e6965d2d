"""The jobs of an experiment on images: the same rules, with images, labels and features in the place of points."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.imagediverge import ImageDivergenceJobs
from guidelab.jobs import Job
from guidelab.layout import Run
from guidelab.nearest import one_of
from guidelab.spec import ImageDataset

TRAIN = "train"  # the fold denoisers and classifiers learn from
REFERENCE = "reference"  # the fold samples are compared with


class ImagePlan(ImageDivergenceJobs):
    """All jobs of one experiment on images."""

    def prepare(self, fold: str) -> Job:
        """Read one split of the dataset, at the resolution to work at."""
        dataset = self.spec.dataset
        spec = {"dataset": dataset.model_dump(), "fold": fold, **self.spec.folds[fold].model_dump()}
        modules = (registry.DATASETS[dataset.name].module,)
        return Job("prepare", {}, (self.fold(fold),), spec, modules, "images.prepare")

    def train(self, denoiser: str, part: str) -> Job:
        """Train one denoiser with some of its seeds, with or without labels."""
        job, d = super().train(denoiser, part), self.spec.denoisers[denoiser]
        modules = (registry.NETS[d.net.name].module, self._trainer(d.net.name))
        spec = job.spec | {"conditional": bool(d.conditional), "dataset": {"classes": self._classes}}
        inputs = {"data": (self.fold(TRAIN),)}
        return replace(job, inputs=inputs, spec=spec, modules=modules, command="images.train")

    @property
    def _classes(self) -> int:
        dataset = self.spec.dataset
        assert isinstance(dataset, ImageDataset)  # that is what this plan is for
        return dataset.classes

    # ---- samples -------------------------------------------------------------------------------------------

    def _sampler_spec(self, run: Run) -> dict[str, Any]:
        variant = self.spec.variants[run.variant]
        spec = super()._sampler_spec(run)
        del spec["dataset"]
        if variant.steps:
            spec["sampler"] = spec["sampler"] | {"steps": variant.steps}
        discs = {
            t.disc: {
                "role": self.spec.discriminators[t.disc].role,
                "seed": None
                if self.spec.discriminators[t.disc].role == "guide"
                else self.spec.discriminators[t.disc].train.seed,
                "iterations": t.iterations,
            }
            for t in variant.guide
            if t.disc
        }
        main = self.spec.denoisers[self.spec.models[variant.main].denoiser]
        labels = self.spec.evaluate.label_policy if main.conditional else None
        return {**spec, "discs": discs, "labels": labels, "shard": self.spec.evaluate.shard}

    def _modules(self, run: Run) -> tuple[str, ...]:
        dataset = registry.DATASETS[
            self.spec.dataset.name
        ].module  # samples need its shape only: the nets know it
        return tuple(m for m in super()._modules(run) if m != dataset)

    def generate(self, disc: str) -> Job:
        """Draw the generated side of a guiding discriminator."""
        return replace(super().generate(disc), command="images.sample")

    def sample(self, variant: str, w: str, part: str) -> Job:
        """Draw every seed block of one point, in shards; a grader's samples are drawn by `grading`."""
        job = super().sample(variant, w, part)
        return replace(job, spec=job.spec | {"grader_blocks": {}}, command="images.sample")

    # ---- discriminators and classifiers --------------------------------------------------------------------

    def discriminate(self, disc: str) -> Job:
        """Train a guiding discriminator, or a classifier."""
        d = self.spec.discriminators[disc]
        inputs: dict[str, tuple[str, ...]] = {"real": (self.fold(d.real),)}
        seeds: list[int] | tuple[int, ...] = [d.train.seed]
        modules = {registry.NETS[d.net.name].module}
        if d.role == "guide":
            inputs["generated"] = (self.generated(disc),)
            seeds = self._source(disc).seeds
        if d.extractor:
            inputs["extractor"] = (self.guide(d.extractor),)
            modules.add(registry.NETS[self.spec.discriminators[d.extractor].net.name].module)
        spec = {
            "disc": disc,
            "role": d.role,
            "net": {k: v for k, v in d.net.model_dump().items() if v is not None},
            "train": d.train.model_dump(),
            "train_seeds": list(seeds),
            "classes": self._classes,
        }
        found = tuple(sorted(modules))
        return Job("discriminate", inputs, (self.guide(disc),), spec, found, "images.discriminate")

    # ---- features and numbers ------------------------------------------------------------------------------

    def measured_in(self, features: str) -> list[str]:
        """Every run, and the fold they are compared with."""
        return [f"data/{REFERENCE}", *(f"{run.point}/{run.part}" for run in self.runs)]

    @cached_property
    def _images(self) -> dict[str, dict[str, None]]:
        """Whose features there are, by feature space: a plan of thousands is asked once for every job."""
        return {name: dict.fromkeys(self.measured_in(name)) for name in self.spec.features}

    def extract(self, features: str, of: str) -> Job:
        """Features of a fold (`data/reference`) or of a run (`cfg/w2.00/seed0`)."""
        if features not in self.spec.features:
            raise UserError(
                f"{self.name}: no features {features!r}; wanted {one_of(features, self.spec.features)}"
            )
        if of not in self._images[features]:
            known = one_of(of, self._images[features])
            raise UserError(f"{self.name}: no images {of!r} to take features of; wanted {known}")
        extractor = self.spec.features[features]
        images = self.fold(of.removeprefix("data/"))
        if not of.startswith("data/"):
            images = f"{self.root}/samples/{of}.json"
        inputs: dict[str, tuple[str, ...]] = {"images": (images,)}
        assert extractor.name is not None  # others are measured in nothing of their own
        modules = [registry.EXTRACTORS[extractor.name].module]
        if extractor.disc:
            inputs["net"] = (self.guide(extractor.disc),)
            modules.append(registry.NETS[self.spec.discriminators[extractor.disc].net.name].module)
        options = {k: v for k, v in extractor.model_dump().items() if v is not None and k != "disc"}
        spec = {"features": features, "extractor": options}
        output = (self.features(features, of),)
        return Job("extract", inputs, output, spec, tuple(sorted(modules)), "images.extract")

    def measure(self, variant: str, w: str, part: str) -> Job:
        """All numbers of one point in every feature space: one row each."""
        run, ev = self._run(variant, w, part), self.spec.evaluate
        inputs: dict[str, tuple[str, ...]] = {}
        for name in self.spec.features:
            inputs[f"features:{name}"] = (self.features(name, f"{run.point}/{run.part}"),)
            inputs[f"reference:{name}"] = (self.features(name, f"data/{REFERENCE}"),)
        sampled = self._sampler_spec(run)
        spec = {
            "row": self._row(run),
            "of": {
                "variant": variant,
                "weights": [term["weight"] for term in sampled["terms"]],
                "train_seeds": sampled["train_seeds"],
                "sampler": sampled["sampler"],
            },
            "dataset": self.spec.dataset.model_dump(),
            "sampler": sampled["sampler"],
            "blocks": self._blocks,
            "metrics": ev.metrics,
            "neighbours": ev.neighbours,
            "label_policy": ev.label_policy,
        }
        output = (self.at("measurements", run, "csv"),)
        return Job("measure", inputs, output, spec, self._metric_modules, "images.measure")

    @property
    def _metric_modules(self) -> tuple[str, ...]:
        asked = {m.partition("@")[0] for m in self.spec.evaluate.metrics}
        return tuple(sorted({registry.IMAGE_METRICS[name].module for name in asked}))

    def collect(self) -> Job:
        """Concatenate all rows, choose each variant's weight by every metric asked for, flatten the rows for DVC."""
        job = super().collect()
        found = {role: tuple(self.guide(n) for n in self.having(role)) for role in ("classifier", "features")}
        found["grade"] = ()  # what graders find is in the table of divergences
        return replace(job, inputs={**job.inputs, **found}, spec=job.spec | {"kind": "images"})

    # ---- what is printed -----------------------------------------------------------------------------------

    def table_job(self) -> Job:
        """The experiment's table."""
        job = super().table_job()
        spec = job.spec | {"kind": "images", "variants": list(self.spec.variants)}
        return replace(job, spec=spec, modules=("guidelab.paper.images.table",))

    def story_job(self) -> Job:
        """What the numbers say, in words."""
        job = super().story_job()
        return replace(job, spec=job.spec | {"kind": "images"}, modules=("guidelab.paper.images.story",))

    def figure_job(self, figure: str) -> Job:
        """One figure: PDF, PNG and the rows it plots."""
        spec = {
            "kind": "images",
            "experiment": self.name,
            "scale": self.spec.scale,
            "figure": figure,
            "settings": self._settings(figure),
        }
        if figure in registry.IMAGE_SIGMA_FIGURES:
            inputs, module = self._sigma_inputs(figure), registry.IMAGE_SIGMA_FIGURES[figure].module
            return Job("figure", inputs, self.figure(figure), spec, (module,), command="images.figure")
        inputs = {"fields": (self.fields(figure),)} if figure in self.drawn else self._printed
        modules = (registry.IMAGE_FIGURES[self._settings(figure).get("name", figure)].module,)
        return Job("figure", inputs, self.figure(figure), spec, modules)

    def field(self, figure: str) -> Job:
        """The images a figure shows."""
        settings = self._settings(figure)
        points = [point for _, point in settings.get("points", [])]
        inputs = {}
        for point in points:
            runs = [run for run in self.runs_at(point) if settings["train_seed"] in run.seeds]
            inputs[f"samples:{point}"] = tuple(self.samples(run) for run in runs)
        spec = {"figure": figure, "settings": settings}
        return Job("field", inputs, (self.fields(figure),), spec, (), "images.field")

    def picture(self, variant: str, w: str, part: str) -> Job:
        """A few samples of a point as one picture."""
        run = self._run(variant, w, part)
        block = next(b for b in self.spec.evaluate.blocks if b != self.spec.evaluate.select_block)
        spec = {"settings": {"train_seed": run.seeds[0], "block": block}}
        inputs = {"samples": (self.samples(run),)}
        return Job("preview", inputs, (self.preview(run),), spec, (), "images.preview")

    def _settings(self, figure: str) -> dict[str, Any]:
        found = getattr(self.spec.paper.figures, figure, None)
        if found is None:
            raise UserError(f"{self.name}: no figure {figure!r}; wanted {one_of(figure, self.figures)}")
        settings: dict[str, Any] = found.model_dump()
        return settings
