"""The jobs of an experiment on images at the papers' size: released weights, latents, GPUs, streams instead of lists."""

from dataclasses import replace
from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.imageplan import TRAIN
from guidelab.jobs import Files, Job
from guidelab.layout import Run
from guidelab.releasedplan import AUTOENCODER, ReleasedPlan
from guidelab.spec import Denoiser, Discriminator
from guidelab.spec.data import ReleasedFold

PUBLISHED = "workflow/resources/published.csv"
_REPORTED = ("guide", "classifier", "features")  # discriminators whose test reports are collected


class LargePlan(ReleasedPlan):
    """All jobs of one experiment at the papers' size, or of its smoke copy."""

    # ---- data ----------------------------------------------------------------------------------------------

    def _options(self, entry: Denoiser | Discriminator) -> dict[str, Any]:
        """What a job of a net is told of what the net works on."""
        latent = self._where(entry)
        return {"latent": latent.model_dump() if latent else None}

    @property
    def _autoencoder(self) -> Files:
        return {"autoencoder": (self.obtained("autoencoders", AUTOENCODER),)}

    @property
    def encoded(self) -> list[str]:
        """The folds that nets see as an autoencoder's latents."""
        e = self.spec
        used = [TRAIN for n in self.trained if self._where(e.denoisers[n])]
        used += [
            d.real
            for n, d in e.discriminators.items()
            if self._where(d) and not self.released("discriminators", n)
        ]
        return list(dict.fromkeys(used))

    @property
    def reencoded(self) -> list[str]:
        """The guides that learn from latents of samples."""
        guides = [n for n in self.having("guide") if not self.released("discriminators", n)]
        return [n for n in guides if self._where(self.spec.discriminators[n])]

    def prepare(self, fold: str) -> Job:
        """Stream one split of the dataset, or the images published for comparison, into a ZIP."""
        job, entry = super().prepare(fold), self.spec.folds[fold]
        spec = job.spec
        if isinstance(entry, ReleasedFold):
            spec = spec | {"checkpoint": self.row(entry.checkpoint), "folder": self._folder}
        elif self._smoke:
            spec = spec | {"dataset": spec["dataset"] | {"source": f"{self.root}/synthetic/images"}}
        return replace(job, inputs=self._made_up, spec=spec, command="large.prepare")

    def encode(self, side: str) -> Job:
        """Encode a fold (`data/train`) or a guide's samples (`generated/dg`)."""
        of, _, name = side.partition("/")
        known = [
            *(f"data/{fold}" for fold in self.encoded),
            *(f"generated/{guide}" for guide in self.reencoded),
        ]
        if side not in known or not self.latent:
            raise UserError(
                f"{self.name}: no latents {side!r}; wanted one of {', '.join(known) or 'none is needed'}"
            )
        images = self.fold(name) if of == "data" else self.generated(name)
        spec = {"latent": self.latent.model_dump()} | ({} if of == "data" else {"block": "generated"})
        inputs = {"images": (images,), **self._autoencoder}
        return Job("encode", inputs, (self.latents(side),), spec, (), "large.encode")

    # ---- training ------------------------------------------------------------------------------------------

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """The stages whose files denoisers are trained on."""
        return ("data", "encode")

    def _trainer(self, net: str) -> str:
        return registry.LARGE_TRAINERS[net].module

    def _learnt(self, entry: Denoiser | Discriminator, fold: str) -> str:
        return self.latents(f"data/{fold}") if self._where(entry) else self.fold(fold)

    def train(self, denoiser: str, part: str) -> Job:
        """Train one denoiser with some of its seeds, on images or latents."""
        job, entry = super().train(denoiser, part), self.spec.denoisers[denoiser]
        inputs = {"data": (self._learnt(entry, TRAIN),)}
        spec = job.spec | self._options(entry)
        return replace(job, inputs=inputs, spec=spec, command="large.train")

    def discriminate(self, disc: str) -> Job:
        """Train a guiding discriminator, or a classifier."""
        job, d = super().discriminate(disc), self.spec.discriminators[disc]
        inputs = dict(job.inputs) | {"real": (self._learnt(d, d.real),)}
        if d.role == "guide" and self._where(d):
            inputs["generated"] = (self.latents(f"generated/{disc}"),)
        return replace(job, inputs=inputs, spec=job.spec | self._options(d), command="large.discriminate")

    # ---- samples -------------------------------------------------------------------------------------------

    def _sampler_spec(self, run: Run) -> dict[str, Any]:
        variant, spec = self.spec.variants[run.variant], super()._sampler_spec(run)
        if variant.real:
            return spec | {"real": variant.real, "latent": None, "labels": None}
        return {**spec, **self._options(self._main(run))}

    def _codec(self, run: Run) -> str:
        return "latents" if self._where(self._main(run)) else "pixels"

    def _main(self, run: Run) -> Denoiser:
        return self.spec.denoisers[self.spec.models[self.spec.variants[run.variant].main].denoiser]

    def _net_inputs(self, run: Run) -> Files:
        real = self.spec.variants[run.variant].real
        if real:
            return {"images": (self.fold(real),)}
        latent = self._where(self._main(run))
        return {**super()._net_inputs(run), **(self._autoencoder if latent else {})}

    def _modules(self, run: Run) -> tuple[str, ...]:
        real = self.spec.variants[run.variant].real
        return (*super()._modules(run), *([registry.SOURCES["fold"].module] if real else []))

    # ---- features and numbers ------------------------------------------------------------------------------

    @property
    def prepared(self) -> list[str]:
        """The folds of images that are read; of published statistics only where images are compared too."""
        images = ("kid", "precision", "recall")
        asked = {m.partition("@")[2] for m in self.spec.evaluate.metrics if m.partition("@")[0] in images}
        met = {space["reference"] for name, space in self._spaces.items() if name in asked}
        return [n for n, fold in self.spec.folds.items() if not isinstance(fold, ReleasedFold) or n in met]

    def measured_in(self, features: str) -> list[str]:
        """Every run, and the folds they are compared with in these features."""
        if self.spec.features[features].of:
            return []
        folds = [
            s["reference"]
            for s in self._spaces.values()
            if s["of"] == features and s["reference"] in self.prepared
        ]
        return [
            *(f"data/{fold}" for fold in dict.fromkeys(folds)),
            *(f"{run.point}/{run.part}" for run in self.runs),
        ]

    def extract(self, features: str, of: str) -> Job:
        """Features of a fold or of a run, shard by shard."""
        job, entry = super().extract(features, of), self.spec.features[features]
        spec = dict(job.spec)
        inputs = dict(job.inputs)
        if entry.checkpoint:
            options = {
                k: v
                for k, v in spec["extractor"].items()
                if k not in ("checkpoint", "reference", "neighbours")
            }
            spec["extractor"] = {**options, "checkpoint": self.row(entry.checkpoint), "folder": self._folder}
            inputs |= self._made_up
        else:
            spec["extractor"] = {
                k: v for k, v in spec["extractor"].items() if k not in ("reference", "neighbours")
            }
        return replace(job, inputs=inputs, spec=spec, command="large.extract")

    def table_job(self) -> Job:
        """The experiment's table, with the published values beside ours."""
        job, published = super().table_job(), self.spec.paper.published
        of = self.spec.paper.published_experiment or self.name
        spec = job.spec | {"published": dict(published), "published_experiment": of, "mains": self._mains}
        inputs = {**job.inputs, "published": (PUBLISHED,)}
        return replace(job, inputs=inputs, spec=spec)

    @property
    def _mains(self) -> dict[str, str]:
        """Variant to `denoiser/model` of what it guides: it is compared with no guidance of the same net."""
        models = self.spec.models
        return {n: f"{models[v.main].denoiser}/{v.main}" for n, v in self.spec.variants.items() if not v.real}

    def story_job(self) -> Job:
        """What the numbers say, in words."""
        job = super().story_job()
        return replace(job, spec=job.spec | {"mains": self._mains})

    def figure_job(self, figure: str) -> Job:
        """One figure: PDF, PNG and the rows it plots."""
        job = super().figure_job(figure)
        return replace(job, spec=job.spec | {"mains": self._mains})

    def collect(self) -> Job:
        """All rows, and the reports of the discriminators trained here."""
        job = super().collect()
        inputs = {
            key: tuple(p for p in paths if not p.startswith(f"{self.root}/obtained/"))
            if key in _REPORTED
            else paths
            for key, paths in job.inputs.items()
        }
        return replace(job, inputs=inputs)
