"""What an experiment takes from others: released weights, an autoencoder, images and statistics to compare with.

An experiment of scale `smoke` makes all of it up, in the released formats, and its pictures too.
"""

from functools import cached_property
from typing import Any

from guidelab import registry
from guidelab.errors import UserError, closest
from guidelab.imageplan import ImagePlan
from guidelab.jobs import Files, Job
from guidelab.released import Row, load_rows
from guidelab.spec.data import Latent, ReleasedFold

AUTOENCODER = "autoencoder"
_KINDS = {
    "models": "model",
    "autoencoders": "autoencoder",
    "references": "statistics",
}  # folder -> what obtain makes


class ReleasedPlan(ImagePlan):
    """The jobs that bring in what is published, or make it up."""

    # ---- where nets work -----------------------------------------------------------------------------------

    @property
    def _latent(self) -> Latent | None:
        return getattr(self.spec.dataset, "latent", None)

    @property
    def _side(self) -> int:
        return self._latent.side_px if self._latent else int(getattr(self.spec.dataset, "resolution_px", 0))

    @property
    def _channels(self) -> int:
        return self._latent.channels if self._latent else 3

    # ---- what is published by others -----------------------------------------------------------------------

    @cached_property
    def _rows(self) -> dict[str, Row]:
        return load_rows()

    def row(self, name: str) -> dict[str, Any]:
        """A row of checkpoints.csv as a job is given it.

        Raises:
            UserError: no such row; names the closest.
        """
        if name not in self._rows:
            raise UserError(
                f"{self.name}: no checkpoint {name!r} in workflow/resources/checkpoints.csv{closest(name, list(self._rows))}"
            )
        return dict(self._rows[name].__dict__)

    @property
    def _smoke(self) -> bool:
        return self.spec.scale == "smoke"

    @property
    def _made_up(self) -> Files:
        """The inputs of a job that reads what a user otherwise fetches."""
        return {"synthetic": tuple(self.synthetic)} if self._smoke else {}

    @property
    def _folder(self) -> str | None:
        """Where released files lie; None: where the user keeps them."""
        return f"{self.root}/synthetic/checkpoints" if self._smoke else None

    @property
    def synthetic(self) -> list[str]:
        """The list of made-up files; nothing unless the scale is smoke."""
        return [f"{self.root}/synthetic/files.json"] if self._smoke else []

    def synthesize(self) -> Job:
        """Make up pictures, and checkpoints in the released formats."""
        dataset = self.spec.dataset
        spec = {
            "dataset": dataset.model_dump(),
            "checkpoints": [self.row(name) for name in self.needed],
            "seed": 0,
        }
        spec |= {"pictures": max(last - first + 1 for first, last in self.spec.evaluate.blocks.values())}
        return Job("synthesize", {}, tuple(self.synthetic), spec, (registry.DATASETS[dataset.name].module,))

    @property
    def needed(self) -> list[str]:
        """The rows of checkpoints.csv this experiment reads, each once."""
        e = self.spec
        names = [self.released("models", m) for m in e.models]
        names += [self.released("discriminators", d) for d in e.discriminators]
        names += [fold.checkpoint for fold in e.folds.values() if isinstance(fold, ReleasedFold)]
        names += [extractor.checkpoint for extractor in e.features.values()]
        names += [self._latent.autoencoder] if self._latent else []
        return list(dict.fromkeys(name for name in names if name))

    @property
    def obtains(self) -> list[str]:
        """Everything published by others that is brought into our form."""
        e = self.spec
        found = [self.model(m) for m in e.models if self.released("models", m)]
        found += [self.guide(d) for d in e.discriminators if self.released("discriminators", d)]
        found += [self.obtained("autoencoders", AUTOENCODER)] if self._latent else []
        return found + [
            self.obtained("references", f) for f, fold in e.folds.items() if isinstance(fold, ReleasedFold)
        ]

    def obtain(self, kind: str, name: str) -> Job:
        """Bring a released file into our form, after checking that it is what params.yaml takes it for."""
        path = self.obtained(kind, name)
        if path not in self.obtains:
            known = [
                p.removeprefix(f"{self.root}/obtained/").removesuffix(".safetensors") for p in self.obtains
            ]
            raise UserError(
                f"{self.name}: nothing to obtain for {kind}/{name}{closest(f'{kind}/{name}', known)} (with weights: trained, "
                "nets are trained here)"
            )
        entry: Any = None
        if kind == "models":
            entry, checkpoint = self.spec.models[name], self.spec.models[name].checkpoint
        elif kind == "discriminators":
            entry, checkpoint = self.spec.discriminators[name], self.spec.discriminators[name].checkpoint
        elif kind == "references":
            fold = self.spec.folds[name]
            checkpoint = fold.checkpoint if isinstance(fold, ReleasedFold) else None
        else:
            checkpoint = self._latent.autoencoder if self._latent else None
        assert checkpoint is not None  # it is one of `obtains`
        spec: dict[str, Any] = {
            "checkpoint": self.row(checkpoint),
            "folder": self._folder,
            "as": _KINDS.get(kind) or ("classifier" if entry.role == "classifier" else "discriminator"),
            "expect": self._expected(kind, name),
            "seeds": self._seeds_of(kind, name),
        }
        if kind == "discriminators" and entry.extractor:
            beneath = self.spec.discriminators[entry.extractor].checkpoint
            spec["extractor"] = self.row(beneath) if beneath else None
        return Job("obtain", self._made_up, (path,), spec, (), "large.obtain")

    def _expected(self, kind: str, name: str) -> dict[str, Any]:
        """What the file must hold: the images its net works on, and how many classes it is told."""
        if kind in ("autoencoders", "references"):
            return {}
        dataset = self.spec.dataset
        assert not isinstance(dataset, str)
        shape = {"resolution_px": self._side, "image_channels": self._channels}
        if kind == "models":
            denoiser = self.spec.denoisers[self.spec.models[name].denoiser]
            return {
                **shape,
                "name": denoiser.net.name,
                "classes": self._classes if denoiser.conditional else 0,
            }
        disc = self.spec.discriminators[name]
        told = disc.role == "classifier" or getattr(disc.net, "conditional", None)
        return {**shape, "name": disc.net.name, "classes": self._classes if told else 0}

    def _seeds_of(self, kind: str, name: str) -> list[int]:
        if kind == "models":
            return list(self.spec.denoisers[self.spec.models[name].denoiser].train.seeds)
        if kind == "discriminators" and self.spec.discriminators[name].role == "guide":
            return sorted({s for d in self.spec.denoisers.values() for s in d.train.seeds})
        return [self.spec.discriminators[name].train.seed] if kind == "discriminators" else []
