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
from guidelab.spec import Denoiser, Discriminator, Model
from guidelab.spec.data import Latent, ReleasedFold
from guidelab.spec.shrink import SIDE

AUTOENCODER = "autoencoder"
_KINDS = {
    "models": "model",
    "autoencoders": "autoencoder",
    "references": "statistics",
}  # folder -> what obtain makes
_OF_TRAINING = (
    "name",
    "dropout",
    "conditional",
)  # keys of a net that are no part of its architecture, or told apart
WIDTHS = {  # extractor -> its features and spatial features
    "inception": (2048, 2023),
    "dinov2": (1024, None),
    "tiny": (32, 28),
}


class ReleasedPlan(ImagePlan):
    """The jobs that bring in what is published, or make it up."""

    # ---- where nets work -----------------------------------------------------------------------------------

    @property
    def latent(self) -> Latent | None:
        """The dataset's latents, if some of the nets work there."""
        return getattr(self.spec.dataset, "latent", None)

    def _where(self, entry: Denoiser | Discriminator) -> Latent | None:
        """The latents a net works on; None for pixels."""
        return None if entry.pixels else self.latent

    def _shape(self, entry: Denoiser | Discriminator) -> dict[str, int]:
        """Side and channels of what a net works on."""
        latent = self._where(entry)
        pixels = int(getattr(self.spec.dataset, "resolution_px", 0))
        return {
            "resolution_px": latent.side_px if latent else pixels,
            "image_channels": latent.channels if latent else 3,
        }

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
        files = {row: self._shape_of_row(row) for row in self.needed}
        spec = {
            "dataset": dataset.model_dump(),
            "checkpoints": [{"row": self.row(name), **shape} for name, shape in files.items()],
            "pictures": SIDE,
            "seed": 0,
        }
        return Job("synthesize", {}, tuple(self.synthetic), spec, (registry.DATASETS[dataset.name].module,))

    def _shape_of_row(self, row: str) -> dict[str, Any]:
        """What a made-up file holds: the shape of what its net works on, and its classes."""
        for kind in ("models", "discriminators"):
            for name in getattr(self.spec, kind):
                if self.released(kind, name) == row:
                    found = self._expected(kind, name)
                    classes = found.get("classes", self._classes if found.get("told", True) else 0)
                    sides = {key: found[key] for key in ("resolution_px", "image_channels")}
                    return {**sides, "classes": classes}
        latent, pixels = self.latent, int(getattr(self.spec.dataset, "resolution_px", 0))
        side = {"side_px": latent.side_px} if latent is not None and row == latent.autoencoder else {}
        return {"resolution_px": pixels, "image_channels": 3, "classes": self._classes, **side}

    @property
    def needed(self) -> list[str]:
        """The rows of checkpoints.csv this experiment reads, each once."""
        e = self.spec
        names = [self.released("models", m) for m in e.models]
        names += [self.released("discriminators", d) for d in e.discriminators]
        names += [fold.checkpoint for fold in e.folds.values() if isinstance(fold, ReleasedFold)]
        names += [extractor.checkpoint for extractor in e.features.values()]
        names += [self.latent.autoencoder] if self.latent else []
        return list(dict.fromkeys(name for name in names if name))

    @property
    def obtains(self) -> list[str]:
        """Everything published by others that is brought into our form."""
        e = self.spec
        found = [self.model(m) for m in e.models if self.released("models", m)]
        found += [self.guide(d) for d in e.discriminators if self.released("discriminators", d)]
        found += [self.obtained("autoencoders", AUTOENCODER)] if self.latent else []
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
            checkpoint = self.latent.autoencoder if self.latent else None
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
        """What the file must hold, and which entry of params.yaml says so."""
        if kind == "autoencoders":
            return self._expected_autoencoder()
        if kind == "references":
            return {"features": self._met(name), "entry": f"{self.name}.folds.{name}"}
        entry = self.spec.models[name] if kind == "models" else self.spec.discriminators[name]
        of = self.spec.denoisers[entry.denoiser] if isinstance(entry, Model) else entry
        place = f"denoisers.{entry.denoiser}" if isinstance(entry, Model) else f"{kind}.{name}"
        net = {k: v for k, v in of.net.model_dump(exclude_none=True).items() if k not in _OF_TRAINING}
        found: dict[str, Any] = {**self._shape(of), "name": of.net.name, "net": net}
        found |= {"entry": f"{self.name}.{kind}.{name}.checkpoint", "net_entry": f"{self.name}.{place}.net"}
        if isinstance(of, Denoiser):
            return found | {"classes": self._classes if of.conditional else 0}
        if of.role == "guide":
            return found | {"told": bool(getattr(of.net, "conditional", None))}
        own = (
            self._rows[of.checkpoint or ""].kind == "classifier"
        )  # a guide's extractor may know other classes
        return found | ({"classes": self._classes} if own else {})

    def _expected_autoencoder(self) -> dict[str, Any]:
        """How many channels its latents have, and how many times smaller they are."""
        latent, pixels = self.latent, int(getattr(self.spec.dataset, "resolution_px", 0))
        assert latent is not None  # it is one of `obtains`
        factor = pixels / latent.side_px
        return {
            "latent_channels": latent.channels, "factor": factor, "entry": f"{self.name}.dataset.latent"
        }  # fmt: skip

    def _met(self, fold: str) -> dict[str, dict[str, Any]]:
        """By feature name, how many numbers its extractor gives, where samples meet this fold in them."""
        found: dict[str, dict[str, Any]] = {}
        for space, entry in self.spec.features.items():
            of = entry.of or space
            extractor = self.spec.features[of].name or ""
            if entry.reference != fold or extractor not in WIDTHS:
                continue
            width, spatial = WIDTHS[extractor]
            asked = found.setdefault(of, {"extractor": extractor, "width": width})
            if f"sfid@{space}" in self.spec.evaluate.metrics:
                asked["spatial"] = spatial
        return found

    def _seeds_of(self, kind: str, name: str) -> list[int]:
        if kind == "models":
            return list(self.spec.denoisers[self.spec.models[name].denoiser].train.seeds)
        if kind == "discriminators" and self.spec.discriminators[name].role == "guide":
            return sorted({s for d in self.spec.denoisers.values() for s in d.train.seeds})
        return [self.spec.discriminators[name].train.seed] if kind == "discriminators" else []
