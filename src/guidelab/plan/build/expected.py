"""What params.yaml requires of each pretrained file (architecture, latent shape or feature widths), and which files an experiment reads."""

from typing import TYPE_CHECKING, Any

from guidelab.plan.build import slices

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment
    from guidelab.spec import Denoiser, Discriminator

_OF_TRAINING = (
    "name",
    "dropout",
    "conditional",
    "file",
)  # keys of a net that are no part of its architecture, or compared apart
WIDTHS = {
    "inception": (2048, 2023),
    "dinov2": (1024, None),
    "tiny": (32, 28),
}  # extractor -> features, spatial features


def needed(e: "PlannedExperiment") -> list[str]:
    """The rows of checkpoints.csv an experiment reads, each once."""
    names = [e.pretrained("models", m) for m in e.spec.models]
    names += [e.pretrained("discriminators", d) for d in e.spec.discriminators]
    names += [e.statistics(fold) for fold in e.spec.folds]
    names += [extractor.checkpoint for extractor in e.spec.features.values()]
    names += [e.latent.autoencoder] if e.latent else []
    return list(dict.fromkeys(name for name in names if name))


def row_of(e: "PlannedExperiment", kind: str, name: str) -> str:
    """The row of checkpoints.csv behind something pretrained."""
    if kind == "autoencoders":
        found = e.latent.autoencoder if e.latent else None
    else:
        found = e.statistics(name) if kind == "references" else e.pretrained(kind, name)
    assert found is not None  # only what has a row is planned
    return found


def shape_of_row(e: "PlannedExperiment", row: str) -> dict[str, Any]:
    """Resolution, channels and classes that a synthetic file of this row must have."""
    for kind in ("models", "discriminators"):
        for name in getattr(e.spec, kind):
            if e.pretrained(kind, name) == row:
                found = expected(e, kind, name)
                classes = found.get("classes", e.classes if found.get("told", True) else 0)
                return {
                    **{key: found[key] for key in ("resolution_px", "image_channels")},
                    "classes": classes,
                }
    side = {"side_px": e.latent.side_px} if e.latent and row == e.latent.autoencoder else {}
    return {"resolution_px": _pixels(e), "image_channels": 3, "classes": e.classes, **side}


def expected(e: "PlannedExperiment", kind: str, name: str) -> dict[str, Any]:
    """What the file must hold, and which entry of params.yaml says so."""
    if kind == "autoencoders":
        return _autoencoder(e)
    if kind == "references":
        return {"features": _compared(e, name), "entry": f"{e.name}.folds.{name}"}
    if kind == "models":
        denoiser = e.spec.models[name].denoiser
        net = e.spec.denoisers[denoiser]
        return _net(e, f"models.{name}", f"denoisers.{denoiser}", net) | {
            "classes": e.classes if net.conditional else 0
        }
    disc = e.spec.discriminators[name]
    found = _net(e, f"discriminators.{name}", f"discriminators.{name}", disc)
    if disc.role == "guide":
        return found | {"told": bool(getattr(disc.net, "conditional", None))}
    own = (
        slices.rows()[disc.checkpoint or ""].kind == "classifier"
    )  # a guide's extractor may know other classes
    return found | ({"classes": e.classes} if own else {})


def _net(
    e: "PlannedExperiment", entry: str, net_entry: str, of: "Denoiser | Discriminator"
) -> dict[str, Any]:
    """A net's architecture, with the side and channels of what it works on."""
    latent = e.latent_of(of)
    net = {k: v for k, v in of.net.model_dump(exclude_none=True).items() if k not in _OF_TRAINING}
    return {
        "resolution_px": latent.side_px if latent else _pixels(e),
        "image_channels": latent.channels if latent else 3,
        "name": of.net.name,
        "net": net,
        "entry": f"{e.name}.{entry}.checkpoint",
        "net_entry": f"{e.name}.{net_entry}.net",
    }


def _pixels(e: "PlannedExperiment") -> int:
    return int(getattr(e.spec.dataset, "resolution_px", 0))


def _autoencoder(e: "PlannedExperiment") -> dict[str, Any]:
    """How many channels its latents have, and how many times smaller they are."""
    assert e.latent is not None  # only then an autoencoder is planned
    factor = _pixels(e) / e.latent.side_px
    return {"latent_channels": e.latent.channels, "factor": factor, "entry": f"{e.name}.dataset.latent"}


def _compared(e: "PlannedExperiment", fold: str) -> dict[str, dict[str, Any]]:
    """Feature name -> extractor and its feature width, for the feature spaces whose reference is this fold."""
    found: dict[str, dict[str, Any]] = {}
    for space, entry in e.spec.features.items():
        of = entry.of or space
        extractor = e.spec.features[of].name or ""
        if entry.reference != fold or extractor not in WIDTHS:
            continue
        width, spatial = WIDTHS[extractor]
        expected = found.setdefault(of, {"extractor": extractor, "width": width})
        if f"sfid@{space}" in e.spec.evaluate.metrics:
            expected["spatial"] = spatial
    return found


def seeds(e: "PlannedExperiment", kind: str, name: str) -> list[int]:
    """The training seeds that one pretrained net stands for."""
    if kind == "models":
        return e.spec.denoisers[e.spec.models[name].denoiser].seeds
    if kind == "discriminators" and e.spec.discriminators[name].role == "guide":
        return sorted({s for d in e.spec.denoisers.values() for s in d.seeds})
    return [e.spec.discriminators[name].train.seed] if kind == "discriminators" else []
