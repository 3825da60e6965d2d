"""Jobs of real data and pretrained files: rules of workflow/rules/data.smk."""

from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.plan.build import expected, slices
from guidelab.plan.build import modules as named
from guidelab.plan.job import Job

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment

_KINDS = {"models": "model", "autoencoders": "autoencoder", "references": "statistics"}


def prepare(e: "PlannedExperiment", fold: str) -> Job:
    """Draw or read one fold of real data."""
    dataset, row = e.spec.dataset, e.statistics(fold)
    spec: dict[str, Any] = {"examples": slices.examples(e), "dataset": dataset.model_dump(), "fold": fold}
    spec |= e.spec.folds[fold].model_dump()
    if row:
        spec |= {"checkpoint": slices.row(e, row), "folder": slices.folder(e)}
    elif e.synthetic:
        spec["dataset"] |= {"source": f"{e.root}/synthetic/images"}
    facts = registry.FACTS.get(dataset.name)
    modules = {named.of_dataset(e), registry.FOLDS[spec["examples"]].module}
    return Job(slices.synthetic(e), spec, tuple(sorted(modules | ({facts.module} if facts else set()))))


def synthesize(e: "PlannedExperiment") -> Job:
    """Make synthetic images, and checkpoints in the published formats."""
    # here: `guidelab --help` reads the table of rules without the specification
    from guidelab.spec.shrink import SIDE

    rows = {row: expected.shape_of_row(e, row) for row in expected.needed(e)}
    spec = {
        "dataset": e.spec.dataset.model_dump(),
        "checkpoints": [{"row": slices.row(e, name), **shape} for name, shape in rows.items()],
        "pictures": SIDE * (3 if e.spec.divergences else 1),  # the null takes two sides of the test images
        "seed": 0,
    }
    return Job({}, spec, (named.of_dataset(e),))


def obtain(e: "PlannedExperiment", kind: str, name: str) -> Job:
    """Convert a pretrained file to our form, after checking that it is what params.yaml says."""
    checkpoint = expected.row_of(e, kind, name)
    disc = e.spec.discriminators[name] if kind == "discriminators" else None
    spec: dict[str, Any] = {
        "checkpoint": slices.row(e, checkpoint),
        "folder": slices.folder(e, checkpoint),
        "as": _KINDS.get(kind) or ("classifier" if disc and disc.role == "classifier" else "discriminator"),
        "expect": expected.expected(e, kind, name),
        "seeds": expected.seeds(e, kind, name),
    }
    if disc and disc.extractor:
        beneath = e.spec.discriminators[disc.extractor].checkpoint
        spec["extractor"] = slices.row(e, beneath) if beneath else None
    return Job({**slices.synthetic(e), **slices.own_file(checkpoint)}, spec)


def encode(e: "PlannedExperiment", side: str) -> Job:
    """Encode a fold (`data/train`) or a guide's samples (`generated/dg`)."""
    of, _, name = side.partition("/")
    assert e.latent is not None  # without latents nothing is encoded
    images = e.outputs("prepare", name) if of == "data" else e.outputs("generate", name)
    spec = {"latent": e.latent.model_dump()} | ({} if of == "data" else {"block": "generated"})
    return Job({"images": images, **slices.autoencoder(e)}, spec)
