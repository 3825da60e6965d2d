"""Checks of `divergences`: its grader, folds, blocks and seeds, none of which may have been seen; and that all is enough."""

from collections.abc import Iterable, Iterator

from guidelab import registry
from guidelab.spec import Experiment, split_point
from guidelab.spec.data import DrawnFold
from guidelab.spec.divergences import Divergences
from guidelab.spec.experiment import Denoiser, Discriminator
from guidelab.speclook import nets_known, seeds_of, unknown

REFERENCE = "reference"  # the fold whose features are extracted
_SMALL = ("ci", "smoke")  # scales whose numbers mean nothing
_PER_BIN = 16  # noise levels of each side in a bin: fewer show no spread, and none would end the job
_PERMUTATIONS = 99  # p-values down to 0.01
_REPEATS = 200  # a share near 95 % is then known to 3 %, twice its standard error
_PART = 10  # vectors that a probe wants in each of its three parts


def check_divergences(e: Experiment) -> Iterator[str]:
    """Every mistake of an experiment's graders, of its `divergences` and of the figures made of them."""
    yield from _graders(e)
    asked, figures = e.divergences, e.paper.figures
    drawn = [
        name for name, of in registry.FIGURES.items() if "divergences" in of.needs and getattr(figures, name)
    ]
    if asked is None:
        yield from (f"paper.figures.{name}: is made of `divergences`, which is not given" for name in drawn)
        return
    yield from _images(e, asked) if e.images else _coordinates(e, asked)
    grader = e.discriminators.get(asked.grader)
    yield unknown(
        "divergences.grader",
        asked.grader,
        "a discriminator that grades",
        [n for n, d in e.discriminators.items() if d.role == "grade"],
    )
    yield from _folds(e, asked)
    yield from _blocks(e, asked)
    yield from _seeds(e, asked)
    yield from _sizes(e, asked)
    yield from _once("divergences.theorem", asked.theorem or [])
    if grader and grader.role == "grade":
        yield from _flows(e, asked.grader, grader)
        yield from _figures(e, grader)


def _graders(e: Experiment) -> Iterator[str]:
    """A grader's training seeds must be those of the samplers it grades: others grade nothing."""
    for name, disc in e.discriminators.items():
        if disc.role != "grade" or not disc.train_seeds:
            continue
        where, trained = f"discriminators.{name}.train_seeds", set()
        for point in disc.points:
            variant = e.variants.get(split_point(point)[0])
            if variant is None or not nets_known(e, variant):
                continue
            seeds = variant.train_seeds or seeds_of(e, variant)
            trained |= set(seeds)
            if not set(seeds) & set(disc.train_seeds):
                yield f"{where}: given {disc.train_seeds}, none of which {point!r} is trained with; wanted some of {seeds}"
        for seed in disc.train_seeds:
            if trained and seed not in trained:
                yield f"{where}: given {seed}, which grades nothing; wanted some of {sorted(trained)}, or leave it out"


def _images(e: Experiment, asked: Divergences) -> Iterator[str]:
    """What images have no use for, and what they need."""
    grader, fold = e.discriminators.get(asked.grader), e.folds.get(asked.real)
    for key in ("coverage", "theorem"):
        if getattr(asked, key):
            yield f"divergences.{key}: given for images; wanted it where the data's density is known"
    if asked.probe is None:
        yield "divergences.probe: is missing; on images divergences are estimated in every feature space, too"
    if asked.real != REFERENCE or getattr(fold, "split", None) != "test":
        yield f"divergences.real: given {asked.real!r}, wanted {REFERENCE!r} of the split test: its features are there, and no net has seen it"
    if grader and asked.null_real not in (None, grader.real):
        yield f"divergences.null_real: given {asked.null_real!r}, wanted {grader.real!r}: two parts of the graders' own fold"


def _coordinates(e: Experiment, asked: Divergences) -> Iterator[str]:
    """What the 2D example has no use for, and the noise level its bounds are taken at."""
    if asked.probe:
        yield "divergences.probe: given, but there are no features; wanted it with images"
    for metric in e.paper.figures.divergence_weight.metrics if e.paper.figures.divergence_weight else ():
        measured = [*e.evaluate.metrics, *(registry.DIVERGENCES if e.evaluate.density else ())]
        yield unknown("paper.figures.divergence_weight.metrics", metric, "a measured metric", measured)
    grader, lowest = e.discriminators.get(asked.grader), getattr(e.sampler, "sigma_min", 0.0)
    if grader is None:
        return
    where, told = f"discriminators.{asked.grader}.train", "the sampler's sigma_min, where bounds are taken"
    if grader.train.sigma_min > lowest:
        yield f"{where}.sigma_min: given {grader.train.sigma_min}, wanted at most {lowest}, {told}: lower it, or raise sampler.sigma_min"
    if grader.train.sigma_max <= lowest:
        yield f"{where}.sigma_max: given {grader.train.sigma_max}, wanted more than {lowest}, {told}"


def _folds(e: Experiment, asked: Divergences) -> Iterator[str]:
    """Real points that no net has seen, and others for the null."""
    for key in ("real", "null_real"):
        fold = getattr(asked, key)
        if fold is None:
            continue
        yield unknown(f"divergences.{key}", fold, "a fold", e.folds)
        users = [name for name, disc in e.discriminators.items() if disc.real == fold]
        if users and not (e.images and key == "null_real"):
            yield f"divergences.{key}: given {fold!r}, on which {', '.join(users)} is trained; wanted a fold no net has seen"
    if asked.null_real == asked.real:
        yield f"divergences.null_real: given {asked.null_real!r}, the fold that is reported; wanted another one"


def _blocks(e: Experiment, asked: Divergences) -> Iterator[str]:
    """Samples that are reported: each once, and not those that chose a weight or a temperature."""
    for name in asked.blocks:
        yield unknown("divergences.blocks", name, "a block", e.evaluate.blocks)
    yield unknown("divergences.calibrate", asked.calibrate, "a block", e.evaluate.blocks)
    yield from _once("divergences.blocks", asked.blocks)
    chose, free = e.evaluate.select_block, [b for b in e.evaluate.blocks if b != e.evaluate.select_block]
    if chose in asked.blocks:
        yield f"divergences.blocks: given {chose!r}, on which weights are chosen (evaluate.select_block); wanted some of {', '.join(free)}"
    if asked.calibrate in asked.blocks:
        yield f"divergences.calibrate: given {asked.calibrate!r}, a block that is reported; wanted one of its own"


def _seeds(e: Experiment, asked: Divergences) -> Iterator[str]:
    """Seeds of real points, noise and repeats, all apart: one seed draws one stream, whatever it is asked for."""
    taken = {f"folds.{name}.seed": fold.seed for name, fold in e.folds.items() if isinstance(fold, DrawnFold)}
    own = {"divergences.seed": asked.seed}
    if asked.coverage:
        own["divergences.coverage.seed"] = asked.coverage.seed
        own["divergences.coverage.seeds"] = asked.coverage.seeds[0]  # draws the null's samples
    for where, seed in own.items():
        for other in (name for name, used in taken.items() if used == seed):
            yield f"{where}: given {seed}, which is {other}, too: the draws would be the same; wanted a seed of its own"
        taken[where] = seed
    if asked.coverage is None:
        return
    low, high = asked.coverage.seeds
    ranges = {f"evaluate.blocks.{name}": seeds for name, seeds in e.evaluate.blocks.items()}
    ranges |= {
        f"discriminators.{n}.generated.seeds": d.generated.seeds
        for n, d in e.discriminators.items()
        if d.generated
    }
    for where, (a, b) in ranges.items():
        if low <= b and a <= high:
            yield f"divergences.coverage.seeds: given {low}-{high}, which meets {where} ({a}-{b}); wanted seeds of its own"


def _sizes(e: Experiment, asked: Divergences) -> Iterator[str]:
    """Points for what is reported, calibrated and compared with itself; noise levels for every bin; repeats."""
    block, n = _block_size(e), getattr(e.folds.get(asked.real), "n", None)
    levels = {"a block": block * asked.draws}
    if e.images:
        yield from _image_sizes(e, asked, block)
    elif n is not None and n < 2 * block:
        yield f"divergences.real: holds {n} points, wanted {block} to calibrate with and at least {block} more"
    elif n is not None and asked.null_real:
        levels[f"a quarter of {asked.real!r}"] = n // 4 * asked.draws  # the null's
    if asked.coverage:
        levels["coverage.n_real"] = asked.coverage.n_real
    scarce = min(levels, key=lambda name: levels[name])
    most = levels[scarce] // _PER_BIN
    if not 2 <= asked.bins <= most:
        yield (
            f"divergences.bins: given {asked.bins}, wanted 2 to {most}: {_PER_BIN} noise levels or more in each, of the "
            f"{levels[scarce]} that {scarce} gives; take fewer bins, or more points"
        )
    if e.scale in _SMALL:
        return
    if asked.permutations < _PERMUTATIONS:
        yield f"divergences.permutations: given {asked.permutations}, wanted at least {_PERMUTATIONS}, for p-values down to 0.01"
    if asked.coverage and asked.coverage.draws < _REPEATS:
        yield (
            f"divergences.coverage.draws: given {asked.coverage.draws}, wanted at least {_REPEATS}, to know a share of 95 % to "
            "3 %; raise it, with as many more seeds"
        )


def _image_sizes(e: Experiment, asked: Divergences, block: int) -> Iterator[str]:
    """Folds of a given size must do for two sides of the null; a probe's parts must hold something."""
    reported = len(asked.blocks) * block
    n, sides = getattr(e.folds.get(asked.real), "n", None), 2 if asked.null_real else 1
    if n is not None and n < sides * (reported + block):
        yield (
            f"divergences.real: holds {n} images, wanted at least {sides * (reported + block)}: {sides} x {reported} to report "
            f"and {block} to calibrate with; give a larger fold, or smaller blocks"
        )
    grader = e.discriminators.get(asked.grader)
    own = getattr(e.folds.get(grader.real), "n", None) if grader else None
    if grader and grader.generated and own is not None and asked.null_real == grader.real:
        apart = grader.generated.seeds[1] - grader.generated.seeds[0] + 1
        if own < 2 * apart:
            yield (
                f"folds.{grader.real}.n: given {own}, wanted at least {2 * apart}: the null sets {apart} apart, as many as a "
                "grader has samples, and no fewer against them; give a larger fold, or graders fewer samples"
            )
    if asked.probe:
        held, tested = (round(share * reported) for share in (asked.probe.validation, asked.probe.test))
        if min(held, tested, reported - held - tested) < _PART:
            yield (
                f"divergences.probe: {reported} samples leave {reported - held - tested} to train, {held} to validate and "
                f"{tested} to test; wanted at least {_PART} in each: raise the smallest share, or the blocks"
            )


def _flows(e: Experiment, name: str, grader: Discriminator) -> Iterator[str]:
    """Estimates ask a sampler for its score at any noise level: it must be a denoiser of pixels that is not random."""
    if _on_latents(e, grader):
        yield f"discriminators.{name}.pixels: wanted true: a grader learns from pixels, not from the dataset's latents"
    for point in grader.points:
        variant = e.variants.get(split_point(point)[0])
        used = [variant.main, *(t.ref for t in variant.guide if t.ref)] if variant else []
        degraded = [m for m in used if m in e.models and e.models[m].degrade != type(e.models[m].degrade)()]
        if degraded:
            yield f"discriminators.{name}.points: given {point!r}, whose net {degraded[0]!r} is degraded at random: it has no score to estimate with; wanted a point without"
        on_latents = [
            m for m in used if m in e.models and _on_latents(e, e.denoisers.get(e.models[m].denoiser))
        ]
        if on_latents:
            yield f"discriminators.{name}.points: given {point!r}, whose net {on_latents[0]!r} works on latents; wanted a point on pixels: held-out images are not encoded"
        if variant and variant.real:
            yield f"discriminators.{name}.points: given {point!r}, which shows real images; wanted a sampler"
        if variant and any(term.boost for term in variant.guide):
            yield f"discriminators.{name}.points: given {point!r}, which is boosted: its steps follow no score; wanted a point without"


def _on_latents(e: Experiment, entry: Denoiser | Discriminator | None) -> bool:
    return entry is not None and getattr(e.dataset, "latent", None) is not None and not entry.pixels


def _figures(e: Experiment, grader: Discriminator) -> Iterator[str]:
    """Points and variants that figures ask for must be graded or known, each once."""
    along, beside = e.paper.figures.divergence_sigma, e.paper.figures.divergence_weight
    for point in along.points if along else ():
        yield unknown("paper.figures.divergence_sigma.points", point, "a graded point", grader.points)
    for variant in beside.variants if beside else ():
        yield unknown("paper.figures.divergence_weight.variants", variant, "a variant", e.variants)
    yield from _once("paper.figures.divergence_sigma.points", along.points if along else [])
    yield from _once("paper.figures.divergence_weight.variants", beside.variants if beside else [])


def _block_size(e: Experiment) -> int:
    first, last = next(iter(e.evaluate.blocks.values()))
    return last - first + 1


def _once(where: str, given: Iterable[str] | Iterable[float]) -> Iterator[str]:
    listed = list(given)
    for name in dict.fromkeys(listed):
        if listed.count(name) > 1:
            yield f"{where}: given {name!r} {listed.count(name)} times, wanted it once: delete the repeats"
