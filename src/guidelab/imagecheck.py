"""Checks across the keys of an experiment on images."""

from collections.abc import Iterator

from guidelab import registry
from guidelab.errors import closest
from guidelab.largecheck import check_large
from guidelab.spec import Experiment, Variant, format_weight
from guidelab.spec.data import DrawnFold, ReleasedFold
from guidelab.spec.nets import DENOISERS
from guidelab.speclook import is_large, nets_known, registered, seeds_of, unknown

_CHAIN_MIN, _CHAIN_MAX = 0.01, 157.41  # noise levels of the first and last step of the linear chain of 1,000
FOLDS = ("train", "reference")  # what denoisers learn from, and what samples are compared with


def check_images(e: Experiment) -> Iterator[str]:
    """Every mistake that only an experiment on images can have, as `place: given, wanted, closest`."""
    yield from _data(e)
    yield from _nets(e)
    yield from _discriminators(e)
    yield from _terms(e)
    yield from _features(e)
    yield from _metrics(e)
    yield from _figures(e)
    yield from check_large(e)


def _data(e: Experiment) -> Iterator[str]:
    for name in FOLDS:
        if name not in e.folds:
            yield f"folds: has no {name!r}, wanted one (it has {', '.join(e.folds) or 'none'})"
    for name, fold in e.folds.items():
        if isinstance(fold, DrawnFold):
            yield f"folds.{name}: given `n` and `seed`, wanted `split` (train, holdout or test): images are not drawn"
        if isinstance(fold, ReleasedFold) and not is_large(e):
            yield f"folds.{name}: given a checkpoint, wanted `split`: {e.dataset.name} is compared with its own images"
    if e.dataset.name in ("image_zip", "image_folder") and getattr(e.dataset, "source", None) is None:
        yield f"dataset.source: is missing; wanted the ZIP or folder of {e.dataset.name}"
    n = getattr(e.folds.get("reference"), "n", None) if e.evaluate.counts == "equal" else None
    largest = max(last - first + 1 for first, last in e.evaluate.blocks.values())
    if n is not None and n < largest:
        yield f"folds.reference.n: given {n}, wanted at least {largest}, the images of a block (KID, precision, recall), or `evaluate.counts: all`"
    splits = {name: getattr(fold, "split", None) for name, fold in e.folds.items()}
    learnt = {"folds.train": "train"} | {
        f"discriminators.{n}.real": d.real for n, d in e.discriminators.items()
    }
    for where, name in learnt.items():
        if "reference" in splits and splits.get(name) == splits["reference"]:
            yield (
                f"{where}: given {name!r}, of the split {splits[name]!r} that samples are compared with, wanted another: "
                "memorised images would pass for good ones"
            )


def _nets(e: Experiment) -> Iterator[str]:
    for name, denoiser in e.denoisers.items():
        if denoiser.conditional is None or denoiser.classes is not None:
            yield f"denoisers.{name}.conditional: wanted true or false, and no `classes`: this dataset has images"
        if denoiser.net.name not in (DENOISERS if is_large(e) else ("edm2",)):
            wanted = " or ".join(DENOISERS) if is_large(e) else "edm2"
            yield f"denoisers.{name}.net.name: given {denoiser.net.name!r}, wanted {wanted}, a denoiser of images"
        net = denoiser.net
        if net.name == "dit":
            continue  # it has patches and no levels
        size, channels = getattr(net, "size", None), getattr(net, "channels", None)
        if (size is None) == (channels is None):
            yield f"denoisers.{name}.net: given size {size!r} and channels {channels!r}, wanted one of them"
        patch = getattr(net, "patch_px", 1)
        latent = getattr(e.dataset, "latent", None)
        resolution = (
            latent.side_px if latent and not denoiser.pixels else getattr(e.dataset, "resolution_px", 1)
        )
        levels = len(getattr(net, "channel_mult", None) or (1, 2, 3, 4))
        if resolution % patch:
            yield f"denoisers.{name}.net.patch_px: given {patch}, wanted a divisor of {resolution}, the resolution"
        elif (resolution // patch) % 2 ** (levels - 1):
            yield (
                f"denoisers.{name}.net.channel_mult: given {levels} levels, wanted fewer: {resolution} px in patches of {patch} "
                f"cannot be halved {levels - 1} times"
            )
        else:
            sides = [resolution // patch // 2**level for level in range(levels)]
            explicit = getattr(net, "model_fields_set", ())
            for px in getattr(net, "attention_px", ()) if "attention_px" in explicit else ():
                if px not in sides:
                    yield f"denoisers.{name}.net.attention_px: given {px}, wanted sides of its levels: {sides}"


def _discriminators(e: Experiment) -> Iterator[str]:
    for name, disc in e.discriminators.items():
        where = f"discriminators.{name}"
        if disc.role == "grade" and disc.extractor is not None:
            yield f"{where}.extractor: given {disc.extractor!r}, wanted none: a grader learns from pixels, and shares nothing with a guide"
        if disc.extractor is not None:
            extractor = e.discriminators.get(disc.extractor)
            problem = _of_role(e, f"{where}.extractor", disc.extractor, "classifier")
            yield problem
            known = extractor is not None and extractor.checkpoint is not None and e.weights == "released"
            if not problem and extractor and not known and extractor.real == disc.real:
                yield (
                    f"{where}.real: given {disc.real!r}, which its extractor {disc.extractor!r} was trained on: it would be "
                    "judged on images it knows; wanted another fold"
                )
        if disc.train.cached_draws and disc.extractor is None:
            yield f"{where}.train.cached_draws: given {disc.train.cached_draws}, but there is no frozen extractor to keep features of"
        if disc.role == "features" and disc.train.sigma_max > 0:
            yield f"{where}.train.sigma_max: given {disc.train.sigma_max}, wanted 0.0: features are of clean images"
        if disc.net.name == "adm_discriminator" and disc.extractor is None:
            yield f"{where}.extractor: is missing; wanted a discriminator of role classifier: this net is a head on its features"
        wanted = {
            "guide": "discriminator",
            "grade": "discriminator",
            "classifier": "classifier",
            "features": "classifier",
        }.get(disc.role)
        if wanted and not disc.net.name.endswith(wanted):
            yield f"{where}.net.name: given {disc.net.name!r}, wanted a {wanted} for the role {disc.role!r}"


def _of_role(e: Experiment, where: str, given: str, role: str) -> str:
    """A message unless `given` is a discriminator of this role."""
    known = [name for name, disc in e.discriminators.items() if disc.role == role]
    return unknown(where, given, f"a discriminator of role {role}", known)


def _terms(e: Experiment) -> Iterator[str]:
    for name, variant in e.variants.items():
        where = f"variants.{name}"
        boosts = [term for term in variant.guide if term.boost]
        yield from _told(e, variant, where)
        for term in boosts:
            if term.method != "discriminator" or term.stages != "first":
                yield f"{where}.guide: given boost for {term.method} at stages {term.stages!r}, wanted `discriminator` and `stages: first`"
        if len(boosts) > 1:
            yield f"{where}.guide: given {len(boosts)} boosted terms, wanted at most one"
        discs = [term.disc for term in variant.guide if term.disc]
        if len(discs) != len(set(discs)):
            yield f"{where}.guide: given {', '.join(discs)}, wanted each discriminator in one term"
        for term in variant.guide:
            train = e.discriminators[term.disc].train if term.disc in e.discriminators else None
            sampler = variant.sampler or e.sampler
            start: float = getattr(sampler, "sigma_max", _CHAIN_MAX)
            highest = term.sigma_hi or start
            lowest = max(term.sigma_lo, 0.0 if hasattr(sampler, "sigma_max") else _CHAIN_MIN)
            if train and (lowest < train.sigma_min or highest > train.sigma_max):
                yield (
                    f"{where}.guide: {term.disc} acts in ({term.sigma_lo}, {highest}], wanted within "
                    f"[{train.sigma_min}, {train.sigma_max}], where it was trained (sigma_lo, sigma_hi)"
                )
            if term.iterations and train is None:
                yield f"{where}.guide.iterations: given {term.iterations} for {term.method}, which has no discriminator"
            elif (
                term.iterations
                and train
                and (term.iterations % train.evaluate_every or term.iterations > train.iterations)
            ):
                yield (
                    f"{where}.guide.iterations: given {term.iterations}, wanted a multiple of {train.evaluate_every} up to "
                    f"{train.iterations}, when {term.disc} is kept"
                )


def _told(e: Experiment, variant: Variant, where: str) -> Iterator[str]:
    """An unconditional main net gives no class: whoever needs one cannot be called."""

    def conditional(model: str | None) -> bool:
        found = e.models.get(model or "")
        denoiser = e.denoisers.get(found.denoiser) if found else None
        return bool(denoiser and denoiser.conditional)

    if conditional(variant.main):
        return
    for term in variant.guide:
        disc = e.discriminators.get(term.disc or "")
        needs = conditional(term.ref) or term.method == "classifier"
        if needs or (disc and getattr(disc.net, "conditional", None)):
            yield (
                f"{where}.guide: main {variant.main!r} is unconditional, so no class is asked for, but {term.ref or term.disc!r} "
                "needs one; wanted unconditional nets throughout, or a conditional main net"
            )


def _features(e: Experiment) -> Iterator[str]:
    if not e.features:
        yield "features: is missing; wanted at least one, as `lite0: {name: efficientnet_lite0, size_px: 64}`"
    for name, extractor in e.features.items():
        where = f"features.{name}"
        if extractor.name is None:
            yield from _space(e, where, extractor.of)
            continue
        yield registered(f"{where}.name", "extractor", extractor.name)
        if not is_large(e) and (extractor.reference != "reference" or extractor.checkpoint or extractor.of):
            yield f"{where}: given of, reference or checkpoint, which {e.dataset.name} has no use for; wanted them with imagenet or cifar10"
        weights = extractor.path or extractor.checkpoint
        if extractor.name in ("inception", "dinov2") and weights is None:
            yield f"{where}.path: is missing; wanted the file with the weights of {extractor.name}, which no package ships"
        if extractor.size_px is not None and extractor.name != "efficientnet_lite0":
            yield f"{where}.size_px: given {extractor.size_px}; {extractor.name} has a size of its own"
        if (extractor.name == "trained") != (extractor.disc is not None):
            yield f"{where}.disc: given {extractor.disc!r}; only the extractor `trained` takes one, and needs it"
        if extractor.disc is not None:
            yield _of_role(e, f"{where}.disc", extractor.disc, "features")


def _space(e: Experiment, where: str, of: str | None) -> Iterator[str]:
    """Features that are another entry's, compared by another rule."""
    if of is None or not is_large(e):
        yield f"{where}.name: is missing; wanted an extractor ({', '.join(registry.EXTRACTORS)})"
    elif of not in e.features or e.features[of].name is None:
        known = [name for name, entry in e.features.items() if entry.name]
        yield unknown(f"{where}.of", of, "features with an extractor", known)


def _metrics(e: Experiment) -> Iterator[str]:
    if e.evaluate.density is not None:
        yield "evaluate.density: given, but log-densities are computed for the 2D example only"
    for metric in e.evaluate.metrics:
        name, _, features = metric.partition("@")
        yield registered("evaluate.metrics", "image metric", name)
        if features not in e.features:
            yield (
                f"evaluate.metrics: given {metric!r}, wanted features after the @: {name}@ and one of "
                f"{', '.join(e.features) or 'none is defined'}{closest(features, list(e.features))}"
            )


def _figures(e: Experiment) -> Iterator[str]:
    for name, figure in e.paper.figures:
        if figure is None:
            continue
        where = f"paper.figures.{name}"
        needs = registry.FIGURES[name].needs.split()
        if "density" in needs:
            known = [n for n, entry in registry.FIGURES.items() if "density" not in entry.needs]
            yield f"{where}: is a figure of the 2D example; wanted one of {', '.join(known)}"
        if "divergences" in needs and not getattr(figure, "metrics", ()):
            continue  # its points are those of a grader
        for variant in getattr(figure, "variants", ()):
            if variant not in e.variants:
                yield f"{where}.variants: given {variant!r}, wanted a variant{closest(variant, list(e.variants))}"
        for metric in getattr(figure, "metrics", ()):
            if metric not in e.evaluate.metrics:
                yield f"{where}.metrics: given {metric!r}, wanted one of evaluate.metrics{closest(metric, e.evaluate.metrics)}"
        points = [point for line in getattr(figure, "lines", {}).values() for _, point in line]
        points += [
            *getattr(figure, "levels", {}).values(),
            *(point for _, point in getattr(figure, "points", ())),
        ]
        known = [
            f"{v}/{format_weight(w)}" for v, variant in e.variants.items() for w in variant.weights or [1.0]
        ]
        for point in points:
            if (point if "/" in point else f"{point}/w1.00") not in known:
                yield f"{where}: given {point!r}, wanted a point of a sweep{closest(point, known)}"
        classes = getattr(e.dataset, "classes", 0)
        for label in getattr(figure, "labels", ()):
            if not 0 <= label < classes:
                yield f"{where}.labels: given {label}, wanted classes from 0 to {classes - 1}"
        seed = getattr(figure, "train_seed", None)
        for _, point in getattr(figure, "points", ()) if seed is not None else ():
            variant = e.variants.get(point.partition("/")[0])
            had = (
                (variant.train_seeds or seeds_of(e, variant))
                if variant and nets_known(e, variant)
                else [seed]
            )
            if seed not in had:
                yield f"{where}.train_seed: given {seed}, which {point} has not; it has {had}"
        if getattr(figure, "block", None) not in (None, *e.evaluate.blocks):
            yield f"{where}.block: given {figure.block!r}, wanted one of {', '.join(e.evaluate.blocks)}"
