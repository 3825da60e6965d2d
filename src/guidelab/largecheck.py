"""Checks across the keys of an experiment at the papers' size: released weights, latents, samplers, references."""

import re
from collections.abc import Iterator
from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.released import Row, load_rows
from guidelab.spec import Denoiser, Discriminator, Experiment, split_point
from guidelab.spec.data import ReleasedFold
from guidelab.spec.samplers import ChainSampler
from guidelab.speclook import is_large, unknown

_VP = ("adm", "dit")  # nets of the discrete chain
_MADE_OF = {  # what a row of checkpoints.csv must be, by where it is named
    "models": ("net",),
    "guide": ("discriminator",),
    "classifier": ("classifier", "extractor_classifier"),
    "folds": ("reference",),
    "features": ("features",),
    "latent": ("autoencoder",),
}
_READ_AS = {  # format of a row -> the net in it, or the extractor it has the weights of
    "edm_pickle": "edm",
    "edm2_pickle": "edm2",
    "adm_pt": "adm",
    "dit_pt": "dit",
    "adm_classifier_pt": "adm_classifier",
    "dg_pt": "adm_discriminator",
    "inception_pt": "inception",
    "dinov2_pth": "dinov2",
}


def check_large(e: Experiment) -> Iterator[str]:
    """Every mistake that only such an experiment can have, as `place: given, wanted, closest`."""
    if getattr(e.dataset, "subset", False) and e.dataset.name != "imagenet":
        yield f"dataset.subset: given for {e.dataset.name}, wanted none: only ImageNet's images are counted"
    if not is_large(e):
        yield from _small(e)
        return
    try:
        rows = load_rows()
    except UserError as error:
        yield str(error)
        return
    yield from _checkpoints(e, rows)
    yield from _fitting(e, rows)
    yield from _spaces(e)
    yield from _nets(e)
    yield from _samplers(e)
    yield from _references(e)
    yield from _published(e)


def _small(e: Experiment) -> Iterator[str]:
    """What an experiment held in memory has no use for."""
    where = {
        "weights": e.weights == "released",
        "dataset.latent": getattr(e.dataset, "latent", None) is not None,
        "sampler.name": isinstance(e.sampler, ChainSampler),
        "paper.published": bool(e.paper.published),
    }
    where |= {f"models.{n}.checkpoint": m.checkpoint is not None for n, m in e.models.items()}
    where |= {f"models.{n}.unlabelled": m.unlabelled for n, m in e.models.items()}
    where |= {f"variants.{n}.sampler": v.sampler is not None for n, v in e.variants.items()}
    known = [name for name, entry in registry.DATASETS.items() if entry.needs == "stream"]
    for place, given in where.items():
        if given:
            yield f"{place}: given, but only experiments on {' or '.join(known)} know it"


def _checkpoints(e: Experiment, rows: dict[str, Row]) -> Iterator[str]:
    named = [(f"models.{n}.checkpoint", m.checkpoint, "models") for n, m in e.models.items()]
    named += [(f"discriminators.{n}.checkpoint", d.checkpoint, d.role) for n, d in e.discriminators.items()]
    named += [(f"features.{n}.checkpoint", x.checkpoint, "features") for n, x in e.features.items()]
    named += [
        (f"folds.{n}.checkpoint", f.checkpoint, "folds")
        for n, f in e.folds.items()
        if isinstance(f, ReleasedFold)
    ]
    latent = getattr(e.dataset, "latent", None)
    named += [("dataset.latent.autoencoder", latent.autoencoder, "latent")] if latent else []
    for where, name, kind in named:
        if name is None:
            continue
        problem = unknown(where, name, "a row of workflow/resources/checkpoints.csv", rows)
        if problem:
            yield problem
        elif rows[name].kind not in _MADE_OF.get(kind, ()):
            yield f"{where}: given {name!r}, which is a {rows[name].kind}, wanted a {' or '.join(_MADE_OF.get(kind, ('file',)))}"
    for name, disc in e.discriminators.items():
        beneath = e.discriminators.get(disc.extractor or "")
        if e.weights == "released" and disc.checkpoint and beneath and not beneath.checkpoint:
            yield f"discriminators.{name}.checkpoint: is a head on {disc.extractor!r}, which is not released; wanted a checkpoint there too"


def _fitting(e: Experiment, rows: dict[str, Row]) -> Iterator[str]:
    """Checkpoints of other data, other images, another number of classes, or another net than they are named for."""
    for n, m in e.models.items():
        of = e.denoisers.get(m.denoiser)
        if of and m.checkpoint in rows:
            classes = e.dataset.classes if of.conditional else 0
            yield from _fits(
                e, f"models.{n}.checkpoint", rows[m.checkpoint], of.net.name, _seen(e, of, classes)
            )
    for n, d in e.discriminators.items():
        if d.checkpoint in rows:
            own = rows[d.checkpoint].kind == "classifier"  # a guide's extractor may know other classes
            seen = _seen(e, d, e.dataset.classes if own else None)
            yield from _fits(e, f"discriminators.{n}.checkpoint", rows[d.checkpoint], d.net.name, seen)
    side = getattr(e.dataset, "resolution_px", None)
    for n, f in e.folds.items():
        if isinstance(f, ReleasedFold) and f.checkpoint in rows:
            seen = {"resolution_px": side, "image_channels": 3}
            yield from _fits(e, f"folds.{n}.checkpoint", rows[f.checkpoint], None, seen)
    for n, x in e.features.items():
        made = _READ_AS.get(rows[x.checkpoint].format) if x.checkpoint in rows else None
        if made and x.name and made != x.name:
            yield f"features.{n}.checkpoint: given {x.checkpoint!r}, the weights of {made}, wanted those of {x.name}"


def _seen(e: Experiment, entry: Denoiser | Discriminator, classes: Any) -> dict[str, Any]:
    """Side, channels and classes of what a net works on; None where nothing is asked."""
    latent = None if entry.pixels else getattr(e.dataset, "latent", None)
    side = latent.side_px if latent else getattr(e.dataset, "resolution_px", None)
    return {"resolution_px": side, "image_channels": latent.channels if latent else 3, "classes": classes}


def _fits(e: Experiment, where: str, row: Row, net: str | None, seen: dict[str, Any]) -> Iterator[str]:
    """What a row of checkpoints.csv says, against what it is named for; what the row leaves empty is not compared.

    A smoke copy is smaller than what it is the copy of, where sizes were compared: there only the data are.
    """
    given, name = f"{where}: given {row.name!r}", e.dataset.name
    smoke, side = e.scale == "smoke", getattr(e.dataset, "resolution_px", "")
    known = (name, f"{name}{side}")
    if row.dataset and not (re.fullmatch(rf"{name}\d*", row.dataset) if smoke else row.dataset in known):
        yield f"{given}, which is of {row.dataset}, wanted one of {name if smoke or name[-1].isdigit() else known[1]} (`guidelab released`)"
    elif net and _READ_AS.get(row.format) not in (None, net):
        yield f"{given}, which is a net {_READ_AS[row.format]}, wanted a net {net}"
    for key, wanted in {} if smoke else seen.items():
        held = getattr(row, key)
        if held is not None and wanted is not None and held != wanted:
            yield f"{given}, of {key} {held} in checkpoints.csv, wanted {wanted}"


def _spaces(e: Experiment) -> Iterator[str]:
    """Nets of one variant see the same thing: pixels or latents, never both."""
    if getattr(e.dataset, "latent", None) is None:
        return
    works = {n: e.denoisers[m.denoiser].pixels for n, m in e.models.items() if m.denoiser in e.denoisers}
    judges = {n: d.pixels for n, d in e.discriminators.items()}
    said = {True: "works on pixels", False: "works on latents"}
    for name, variant in e.variants.items():
        main = works.get(variant.main)
        for term in variant.guide if main is not None else ():
            for kind, other, pixels in (
                ("model", term.ref, works.get(term.ref or "")),
                ("discriminator", term.disc, judges.get(term.disc or "")),
            ):
                if pixels not in (None, main):
                    yield (
                        f"variants.{name}.guide: {kind} {other!r} {said[bool(pixels)]}, but main {variant.main!r} "
                        f"{said[bool(main)]}; wanted both on the same (`pixels` of their entries)"
                    )
    for name, disc in e.discriminators.items():
        below = judges.get(disc.extractor or "")
        if below not in (None, disc.pixels):
            yield (
                f"discriminators.{name}.extractor: {disc.extractor!r} {said[bool(below)]}, but the head on it "
                f"{said[disc.pixels]}; wanted both on the same (`pixels` of their entries)"
            )


def _nets(e: Experiment) -> Iterator[str]:
    """What a net cannot do: masks of dropout at sampling time, mirrored latents."""
    for name, model in e.models.items():
        of = e.denoisers.get(model.denoiser)
        if of and model.degrade.dropout and of.net.name in _VP:
            yield f"models.{name}.degrade.dropout: given {model.degrade.dropout}, which a net {of.net.name} does not take; wanted input_noise, or a net edm or edm2"
    latent = getattr(e.dataset, "latent", None) is not None
    for name, denoiser in e.denoisers.items():
        changed = denoiser.train.flip or getattr(denoiser.net, "augment_dim", 0) > 0
        if latent and not denoiser.pixels and changed:
            yield f"denoisers.{name}.train.flip: given for a net on latents; a mirrored latent is not the latent of the mirrored image, wanted none"


def _samplers(e: Experiment) -> Iterator[str]:
    """A net of the discrete chain can be sampled by both kinds; an EDM net knows no chain."""
    for name, variant in e.variants.items():
        sampler = variant.sampler or e.sampler
        model = e.models.get(variant.main)
        denoiser = e.denoisers.get(model.denoiser) if model else None
        if denoiser and isinstance(sampler, ChainSampler) and denoiser.net.name not in _VP:
            yield f"variants.{name}: main {variant.main!r} is a net {denoiser.net.name}, which sampler {sampler.name} cannot step; wanted heun"
        if isinstance(sampler, ChainSampler) and any(term.boost for term in variant.guide):
            yield f"variants.{name}.guide: given boost, wanted sampler heun: boosting is defined there"
        if variant.real:
            yield unknown(f"variants.{name}.real", variant.real, "a fold", e.folds)
            if variant.guide or variant.weights:
                yield f"variants.{name}: given real images and guidance, wanted one of them"
        if variant.steps and variant.sampler:
            yield f"variants.{name}.steps: given beside `sampler`, wanted the steps there"


def _references(e: Experiment) -> Iterator[str]:
    for name, entry in e.features.items():
        yield unknown(f"features.{name}.reference", entry.reference, "a fold", e.folds)
    for name, fold in e.folds.items():
        if isinstance(fold, ReleasedFold) and name in ("train", "reference"):
            yield f"folds.{name}: given a checkpoint, wanted a split of the dataset"
    for metric in e.evaluate.metrics:
        base, _, space = metric.partition("@")
        used = e.features.get(space)
        met = e.folds.get(used.reference) if used else None
        if base == "kid" and isinstance(met, ReleasedFold):
            yield f"evaluate.metrics: given {metric!r}, wanted a space whose reference is a fold of images, all of them: KID meets features, not statistics"


def _published(e: Experiment) -> Iterator[str]:
    for point in e.paper.published:
        variant, w = split_point(point)
        known = [f"w{x:.2f}" for x in e.variants[variant].weights or [1.0]] if variant in e.variants else []
        if variant not in e.variants:
            yield unknown("paper.published", variant, "a variant", e.variants)
        elif (w or "w1.00") not in known:
            yield f"paper.published: given {point!r}, wanted a weight of its sweep ({', '.join(known)})"
