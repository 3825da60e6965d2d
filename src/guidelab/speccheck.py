"""Checks across the keys of params.yaml: names that must exist, folds and seeds that must not meet, no cycles."""

from collections.abc import Iterator
from itertools import combinations

from guidelab import registry
from guidelab.divergecheck import check_divergences
from guidelab.imagecheck import check_images
from guidelab.spec import Discriminator, Experiment, Spec, Variant, format_weight, split_point
from guidelab.spec.data import DrawnFold
from guidelab.speclook import nets_known, registered, seeds_of, unknown

KEPT = (
    24  # averages (snapshots times lengths) a post-hoc EMA needs: from 16 its profile was off by up to 13 %
)


def check(spec: Spec) -> list[str]:
    """Every cross-key mistake of a spec as `place: given, wanted, closest`; empty when there is none."""
    problems = [unknown("default", name, "an experiment", spec.experiments) for name in spec.default]
    found = [p for p in problems if p]
    for name, experiment in spec.experiments.items():
        found += [f"experiments.{name}.{problem}" for problem in _experiment(experiment)]
    return found


def _experiment(e: Experiment) -> Iterator[str]:
    kind = check_images(e) if e.images else _coordinates(e)
    checks = (
        _nets(e),
        _models(e),
        _variants(e),
        _discriminators(e),
        _cycles(e),
        _evaluate(e),
        _paper(e),
        check_divergences(e),
        kind,
    )
    yield from (problem for part in checks for problem in part if problem)


def _coordinates(e: Experiment) -> Iterator[str]:
    """What only the 2D example needs."""
    for name, denoiser in e.denoisers.items():
        if denoiser.classes is None or denoiser.conditional is not None:
            yield f"denoisers.{name}.classes: wanted A, B or AB, and no `conditional`: this dataset has no images"
    for name, fold in e.folds.items():
        if not isinstance(fold, DrawnFold):
            yield f"folds.{name}: given {', '.join(fold.model_fields_set)}, wanted `n` and `seed`: this dataset is drawn, not split"
    for name, disc in e.discriminators.items():
        if disc.role not in ("guide", "grade"):
            yield f"discriminators.{name}.role: given {disc.role!r}, wanted guide or grade: there are no images to classify"
    for metric in e.evaluate.metrics:
        yield registered("evaluate.metrics", "metric", metric)


def _nets(e: Experiment) -> Iterator[str]:
    yield registered("dataset.name", "dataset", e.dataset.name)
    yield registered("sampler.name", "sampler", e.sampler.name)
    for (a, x), (b, y) in combinations(e.folds.items(), 2):
        if isinstance(x, DrawnFold) and isinstance(y, DrawnFold) and x.seed == y.seed:
            yield f"folds.{b}.seed: given {y.seed}, the seed of {a!r}; folds with one seed hold the same points"
    samplers = {"sampler": e.sampler} | {
        f"variants.{name}.sampler": variant.sampler for name, variant in e.variants.items() if variant.sampler
    }
    for where, sampler in samplers.items():
        low, high = getattr(sampler, "sigma_min", 0.0), getattr(sampler, "sigma_max", 1.0)
        if low >= high:
            yield f"{where}.sigma_min: given {low}, wanted less than sigma_max {high}"
    for name, denoiser in e.denoisers.items():
        yield registered(f"denoisers.{name}.net.name", "net", denoiser.net.name)
        yield registered(f"denoisers.{name}.net.name", "trainer", denoiser.net.name)
        if len(set(denoiser.train.seeds)) != len(denoiser.train.seeds):
            yield f"denoisers.{name}.train.seeds: given {denoiser.train.seeds}, wanted each seed once"


def _models(e: Experiment) -> Iterator[str]:
    for name, model in e.models.items():
        where = f"models.{name}"
        problem = unknown(f"{where}.denoiser", model.denoiser, "a denoiser", e.denoisers)
        if problem:
            yield problem
            continue
        train = e.denoisers[model.denoiser].train
        if model.nimg > train.nimg or model.nimg % train.snapshot_nimg:
            yield (
                f"{where}.nimg: given {model.nimg}, wanted a snapshot of {model.denoiser}: a multiple of "
                f"{train.snapshot_nimg} up to {train.nimg}"
            )
        if model.ema_std not in train.ema_stds and len(train.ema_stds) < 2:
            yield (
                f"{where}.ema_std: given {model.ema_std}, wanted {train.ema_stds[0]}, the one EMA length kept of "
                f"{model.denoiser} (keep two or more in ema_stds to reconstruct others)"
            )
        kept = model.nimg // train.snapshot_nimg * len(train.ema_stds)
        if model.ema_std not in train.ema_stds and len(train.ema_stds) > 1 and kept < KEPT:
            yield (
                f"{where}.ema_std: given {model.ema_std}, to be reconstructed from the {kept} averages kept up to nimg "
                f"{model.nimg}, wanted at least {KEPT}, or one of {train.ema_stds}: from so few it comes out another length"
            )


def _variants(e: Experiment) -> Iterator[str]:
    for name, variant in e.variants.items():
        where = f"variants.{name}"
        yield unknown(f"{where}.main", variant.main, "a model", e.models)
        swept = [term for term in variant.guide if term.weight is None]
        if variant.guide and len(swept) != 1:
            yield f"{where}.guide: {len(swept)} terms without `weight`, wanted exactly one (the one `weights` sweeps)"
        if bool(variant.guide) != bool(variant.weights):
            yield f"{where}: given {'`guide` without `weights`' if variant.guide else '`weights` without `guide`'}, wanted both or neither"
        for w in variant.weights or []:
            if round(w, 2) != w:
                yield f"{where}.weights: given {w}, wanted at most two decimals (weights name files: {format_weight(w)})"
        if variant.weights and len(set(variant.weights)) != len(variant.weights):
            yield f"{where}.weights: given {variant.weights}, wanted each weight once"
        yield from _terms(e, variant, where)
        if nets_known(e, variant):
            yield from _train_seeds(e, variant, where)


def _terms(e: Experiment, variant: Variant, where: str) -> Iterator[str]:
    for i, term in enumerate(variant.guide):
        place = f"{where}.guide.{i}"
        problem = registered(f"{place}.method", "method", term.method)
        if problem:
            yield problem
            continue
        needs = registry.METHODS[term.method].needs
        for key, known, wanted in (
            ("ref", e.models, "a model"),
            ("disc", e.discriminators, "a discriminator"),
        ):
            given = getattr(term, key)
            if (given is not None) != (needs == key):
                yield f"{place}.{key}: given {given!r}; method {term.method!r} needs {needs or 'neither ref nor disc'}"
            elif given is not None:
                yield unknown(f"{place}.{key}", given, wanted, known)
        role = e.discriminators[term.disc].role if term.disc in e.discriminators else None
        wanted = "classifier" if term.method == "classifier" else "guide"
        if role == "grade":
            yield f"{place}.disc: given {term.disc!r}, whose role is to grade; a discriminator that grades never guides"
        elif role not in (None, wanted):
            yield f"{place}.disc: given {term.disc!r}, whose role is {role!r}; method {term.method!r} needs a {wanted}"
        if term.sigma_hi is not None and term.sigma_lo >= term.sigma_hi:
            yield f"{place}.sigma_lo: given {term.sigma_lo}, wanted less than sigma_hi {term.sigma_hi}"


def _train_seeds(e: Experiment, variant: Variant, where: str) -> Iterator[str]:
    common = seeds_of(e, variant)
    if not common:
        yield f"{where}: its nets share no training seed; wanted at least one seed in all their `train.seeds`"
    for seed in variant.train_seeds or []:
        if seed not in common:
            yield f"{where}.train_seeds: given {seed}, wanted one of {common}, the seeds all its nets are trained with"


def _discriminators(e: Experiment) -> Iterator[str]:
    for name, disc in e.discriminators.items():
        where = f"discriminators.{name}"
        yield registered(f"{where}.net.name", "net", disc.net.name)
        yield unknown(f"{where}.real", disc.real, "a fold", e.folds)
        if disc.role == "guide":
            if disc.drawn.variant is None:
                yield f"{where}.generated.variant: is missing; a guide is trained on one sampler's samples"
            else:
                yield from _point(e, f"{where}.generated.variant", disc.drawn.variant)
        elif disc.role == "grade" and (disc.drawn.variant is not None or not disc.points):
            yield f"{where}: a grader takes its samplers from `points` (a list), not from generated.variant"
        for point in disc.points:
            yield from _point(e, f"{where}.points", point)
        if disc.train.sigma_min >= disc.train.sigma_max and disc.role != "features":
            yield f"{where}.train.sigma_min: given {disc.train.sigma_min}, wanted less than sigma_max"
    for (a, x), (b, y) in combinations(e.discriminators.items(), 2):
        if x.role != y.role and "grade" in (x.role, y.role) and x.real == y.real:
            yield f"discriminators.{b}.real: given {y.real!r}, the fold of {a!r}; a grader shares no real data with a guide"
        if x.role != y.role and "grade" in (x.role, y.role) and x.train.seed == y.train.seed:
            yield f"discriminators.{b}.train.seed: given {y.train.seed}, the seed of {a!r}; a grader is seeded apart from a guide"


def _point(e: Experiment, where: str, point: str) -> Iterator[str]:
    name, w = split_point(point)
    problem = unknown(where, name, "a variant", e.variants)
    if problem:
        yield problem
        return
    known = [format_weight(x) for x in e.variants[name].weights or []]
    if w is None and known:
        yield f"{where}: given {point!r}, wanted a weight too: {', '.join(f'{name}/{k}' for k in known)}"
    elif w is not None and w not in known:
        yield f"{where}: given {point!r}, wanted a weight of its sweep ({', '.join(known) or 'it has none'}), or {w} among variants.{name}.weights"


def _uses(e: Experiment, name: str, disc: Discriminator) -> list[str]:
    source = disc.generated.variant if disc.generated else None
    variant = split_point(source)[0] if source else None
    terms = e.variants[variant].guide if variant in e.variants else []
    return [t.disc for t in terms if t.disc]


def _cycles(e: Experiment) -> Iterator[str]:
    """A guide trained on samples that need that guide (through others, too) can never be built."""
    for start in e.discriminators:
        trail = [start]
        while True:
            following = [d for d in _uses(e, trail[-1], e.discriminators[trail[-1]]) if d in e.discriminators]
            if not following:
                break
            trail.append(following[0])
            if following[0] == start:
                yield f"discriminators.{start}: needs itself: {' -> '.join(trail)} (its samples are guided by it)"
            if following[0] in trail[:-1]:
                break


def _evaluate(e: Experiment) -> Iterator[str]:
    ranges = {f"evaluate.blocks.{name}": seeds for name, seeds in e.evaluate.blocks.items()}
    ranges |= {
        f"discriminators.{name}.generated.seeds": d.generated.seeds
        for name, d in e.discriminators.items()
        if d.generated
    }
    for where, (first, last) in ranges.items():
        if first > last:
            yield f"{where}: given {first}-{last}, wanted the smaller seed first"
    for (a, (a0, a1)), (b, (b0, b1)) in combinations(ranges.items(), 2):
        if a0 <= b1 and b0 <= a1:
            yield f"{b}: given {b0}-{b1}, which meets {a} ({a0}-{a1}); wanted seeds of its own"
    sizes = {last - first + 1 for name, (first, last) in e.evaluate.blocks.items()}
    if len(sizes) > 1:
        yield f"evaluate.blocks: of {sorted(sizes)} samples; wanted blocks of equal size (several metrics depend on n)"
    smallest = min(sizes)
    if e.evaluate.neighbours >= smallest:
        yield f"evaluate.neighbours: given {e.evaluate.neighbours}, wanted fewer than the {smallest} samples of a block"
    if e.evaluate.density and e.evaluate.density.n > smallest:
        yield f"evaluate.density.n: given {e.evaluate.density.n}, wanted at most the {smallest} samples of a block"
    yield unknown("evaluate.select_block", e.evaluate.select_block, "a block", e.evaluate.blocks)
    measured = [*e.evaluate.metrics, *(registry.DIVERGENCES if e.evaluate.density else ())]
    for metric in e.evaluate.select_metric:
        yield unknown("evaluate.select_metric", metric, "a measured metric", measured)
    yield unknown("folds", "reference", "a fold named reference", e.folds)


def _paper(e: Experiment) -> Iterator[str]:
    for point in e.paper.headline:
        yield from _point(e, "paper.headline", point)
    figures = e.paper.figures
    for name, figure in (("fig1", figures.fig1), ("fig2", figures.fig2)):
        for point in figure.panels if figure else []:
            yield from _point(e, f"paper.figures.{name}.panels", point)
    for name, drawn in (("fig1", figures.fig1), ("fig2", figures.fig2), ("fig9", figures.fig9)):
        shared = set.intersection(*(set(seeds_of(e, v)) for v in e.variants.values() if nets_known(e, v)))
        if drawn and drawn.train_seed not in shared:
            yield f"paper.figures.{name}.train_seed: given {drawn.train_seed}, wanted one of {sorted(shared)}, which every net has"
    if figures.fig9:
        for key in ("main", "cfg", "autog"):
            yield unknown(f"paper.figures.fig9.{key}", getattr(figures.fig9, key), "a model", e.models)
