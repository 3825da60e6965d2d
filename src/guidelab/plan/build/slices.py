"""The parts of a job's spec that several builders share."""

from collections.abc import Iterable
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.errors import UserError, closest
from guidelab.plan.instances import AUTOENCODER
from guidelab.plan.job import Files
from guidelab.project import resource
from guidelab.released import CSV, FILE, Row, load_rows, row_of_file

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment, Run
    from guidelab.spec import Denoiser, Discriminator
    from guidelab.spec.divergences import Divergences

METRICS_INFO = "workflow/resources/metrics.csv"  # direction, unit, digits and definition of every metric

# ---- pretrained files ------------------------------------------------------------------------------------------------


@cache
def rows() -> dict[str, Row]:
    """checkpoints.csv by name."""
    return load_rows(resource(CSV))


def row(e: "PlannedExperiment", name: str) -> dict[str, Any]:
    """A row of checkpoints.csv, as jobs have it.

    Raises:
        UserError: no such row; names the closest.
    """
    if name.startswith(FILE):
        nets = (d.net for d in e.spec.denoisers.values() if d.file == name.removeprefix(FILE))
        return dict(row_of_file(name.removeprefix(FILE), next(nets).name).__dict__)
    if name not in rows():
        raise UserError(
            f"{e.name}: no checkpoint {name!r} in workflow/resources/checkpoints.csv{closest(name, list(rows()))}"
        )
    return dict(rows()[name].__dict__)


def folder(e: "PlannedExperiment", name: str = "") -> str | None:
    """Where pretrained files lie, or a user's own one; None: where the user keeps published ones."""
    if name.startswith(FILE):
        return str(PurePath(name.removeprefix(FILE)).parent)
    return f"{e.root}/synthetic/checkpoints" if e.synthetic else None


def own_file(name: str) -> Files:
    """A user's own file as an input, so that a change of it is seen; nothing for a row of checkpoints.csv."""
    return {"file": (name.removeprefix(FILE),)} if name.startswith(FILE) else {}


def synthetic(e: "PlannedExperiment") -> Files:
    """The inputs of a job that reads what a user otherwise fetches."""
    return {"synthetic": e.outputs("synthesize")} if e.synthetic else {}


def autoencoder(e: "PlannedExperiment") -> Files:
    """The autoencoder's input."""
    return {"autoencoder": e.outputs("obtain", "autoencoders", AUTOENCODER)}


def latent(e: "PlannedExperiment", net: "Denoiser | Discriminator") -> dict[str, Any]:
    """The latents a net works on; nothing for nets on the pixels of a small dataset."""
    found = e.latent_of(net)
    return {"latent": found.model_dump() if found else None} if found or e.streamed else {}


def learnt(e: "PlannedExperiment", net: "Denoiser | Discriminator", fold: str) -> tuple[str, ...]:
    """The file of a fold that a net is trained on: images or latents."""
    return e.outputs("encode", f"data/{fold}") if e.latent_of(net) else e.outputs("prepare", fold)


# ---- samplers --------------------------------------------------------------------------------------------------------


def sampler(e: "PlannedExperiment", run: "Run") -> dict[str, Any]:
    """Everything that decides what one run samples, but not which seeds."""
    variant, models = e.spec.variants[run.variant], e.spec.models
    used = e.models_of(variant)
    terms = [t.model_dump() | {"weight": run.w if t.weight is None else t.weight} for t in variant.guide]
    steps = {"steps": variant.steps} if variant.steps else {}
    spec: dict[str, Any] = {
        "variant": run.variant,
        "sampler": e.sampler(variant).model_dump() | steps,
        "main": variant.main,
        "terms": terms,
        "degrade": {m: models[m].degrade.model_dump() for m in used},
        "train_seeds": list(run.seeds),
        "codec": codec(e, run),
        "unlabelled": [m for m in used if models[m].unlabelled],
        **e.spec.sampling.model_dump(),
    }
    if not e.images:
        spec |= {"real": variant.real} if variant.real else {}
        return spec | {"dataset": e.spec.dataset.model_dump()}
    main = _main(e, run)
    spec |= {"discs": {t.disc: _guide(e, t.disc, t.iterations) for t in variant.guide if t.disc}}
    spec |= {"labels": e.spec.evaluate.label_policy if main.conditional and not variant.real else None}
    latents = None if variant.real else e.latent_of(main)
    spec |= {"shard": e.spec.evaluate.shard, "latent": latents.model_dump() if latents else None}
    return spec | ({"real": variant.real} if variant.real else {})


def codec(e: "PlannedExperiment", run: "Run") -> str:
    """How the samples of a run are stored."""
    if not e.images:
        return "real_points" if e.spec.variants[run.variant].real else "points"
    return "latents" if e.latent_of(_main(e, run)) else "pixels"


def _main(e: "PlannedExperiment", run: "Run") -> "Denoiser":
    return e.spec.denoisers[e.spec.models[e.spec.variants[run.variant].main].denoiser]


def _guide(e: "PlannedExperiment", disc: str, iterations: int | None) -> dict[str, Any]:
    """How a sampler takes a guiding net: the one of its own training seed, or a classifier's only one."""
    d = e.spec.discriminators[disc]
    return {
        "role": d.role,
        "seed": None if d.role == "guide" else d.train.seed,
        "iterations": iterations,
    }


def net_inputs(e: "PlannedExperiment", run: "Run") -> dict[str, tuple[str, ...]]:
    """The nets a run samples with; of real examples in their place the examples."""
    variant = e.spec.variants[run.variant]
    if variant.real:
        return {examples(e): e.outputs("prepare", variant.real)}
    inputs = {f"model:{m}": (e.net(m),) for m in e.models_of(variant)}
    inputs |= {f"disc:{t.disc}": (e.guide(t.disc),) for t in variant.guide if t.disc}
    return {**inputs, **(autoencoder(e) if e.latent_of(_main(e, run)) else {})}


def examples(e: "PlannedExperiment") -> str:
    """What the dataset's examples are: points, which are drawn, or images, which are read."""
    return "images" if e.images else "points"


def blocks(e: "PlannedExperiment", run: "Run | None" = None) -> dict[str, list[int]]:
    """The blocks of sample seeds; of real examples one: the same images again are no other draw."""
    found = {name: list(seeds) for name, seeds in e.spec.evaluate.blocks.items()}
    real = run and e.spec.variants[run.variant].real
    return {name: found[name] for name in [report_block(e)]} if real else found


def report_block(e: "PlannedExperiment") -> str:
    """The first block that chooses no weight."""
    return next(block for block in e.spec.evaluate.blocks if block != e.spec.evaluate.select_block)


# ---- discriminators --------------------------------------------------------------------------------------------------


def discriminator(e: "PlannedExperiment", disc: str) -> dict[str, Any]:
    """A discriminator and how it is trained."""
    d = e.spec.discriminators[disc]
    spec = {"disc": disc, "examples": examples(e), "train": d.train.model_dump()}
    if not e.images:
        return spec | {"net": d.net.model_dump()}
    net = {k: v for k, v in d.net.model_dump().items() if v is not None}
    return spec | {"role": d.role, "net": net, "classes": e.classes}


def source(e: "PlannedExperiment", disc: str) -> "Run":
    """The sampler that a guiding discriminator corrects, with the training seeds it is trained for."""
    d = e.spec.discriminators[disc]
    runs = e.runs_at(d.drawn.variant or "")
    seeds = {s for run in runs for s in run.seeds}
    return type(runs[0])(runs[0].variant, runs[0].w, tuple(sorted(seeds & set(d.train_seeds or seeds))))


def graded_seeds(e: "PlannedExperiment", disc: str, run: "Run") -> list[int]:
    """The training seeds of a run whose sampler a grader grades."""
    return [s for s in run.seeds if s in (e.spec.discriminators[disc].train_seeds or run.seeds)]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def spaces(e: "PlannedExperiment") -> dict[str, dict[str, Any]]:
    """Every feature space: whose features, which reference, how many neighbours, which rule about counts."""
    return {
        name: {
            "of": entry.of or name,
            "reference": entry.reference,
            "statistics": bool(e.statistics(entry.reference)),
            "neighbours": entry.neighbours or e.spec.evaluate.neighbours,
            "counts": e.spec.evaluate.counts,
        }
        for name, entry in e.spec.features.items()
    }


def features(e: "PlannedExperiment", names: Iterable[str], of: str, label: str) -> Files:
    """The features of a fold or a run in some spaces: `features:lite0`."""
    return {f"{label}:{name}": e.outputs("extract", name, of) for name in names}


def estimate(e: "PlannedExperiment") -> dict[str, Any]:
    """What all estimates of divergences of an experiment share."""
    settings, grader = divergences(e), e.spec.discriminators[divergences(e).grader]
    kept = settings.model_dump(exclude={"theorem", "null_real", "real", "blocks", "calibrate"})
    about = {"experiment": e.name, "scale": e.spec.scale, "sampler": e.spec.sampler.model_dump()}
    about |= {"report": settings.blocks, "calibrate": settings.calibrate, "reference_split": settings.real}
    sigmas = [grader.train.sigma_min, grader.train.sigma_max]
    return about | {"dataset": e.spec.dataset.model_dump(), "estimate": kept, "sigmas": sigmas}


def divergences(e: "PlannedExperiment") -> "Divergences":
    """What params.yaml says about divergences."""
    assert e.spec.divergences is not None  # without it no job of these rules is planned
    return e.spec.divergences


def printed(e: "PlannedExperiment") -> dict[str, tuple[str, ...]]:
    """What tables, curves and findings are made of."""
    measurements, selected = e.outputs("collect")[:2]
    return {"measurements": (measurements,), "selected": (selected,), "metrics": (resource(METRICS_INFO),)}


def metrics_of_plugins(e: "PlannedExperiment") -> dict[str, Any]:
    """What metrics.csv would say of the metrics of plugins; nothing where there are none."""
    found = {
        name: registry.described(name)
        for name in dict.fromkeys(m.partition("@")[0] for m in e.spec.evaluate.metrics)
    }
    own = [{"metric": name, **about} for name, about in found.items() if about is not None]
    return {"metrics_of_plugins": own} if own else {}


def headline(e: "PlannedExperiment") -> list[str]:
    """The points of the headline."""
    return [e.runs_at(point)[0].point for point in e.spec.paper.headline]
