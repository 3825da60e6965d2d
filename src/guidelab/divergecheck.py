"""Checks of `divergences`: its grader, folds and seeds, none of which may have been seen by a net."""

from collections.abc import Iterator

from guidelab import registry
from guidelab.spec import Experiment
from guidelab.spec.divergences import Divergences
from guidelab.speclook import is_large, unknown

REFERENCE = "reference"  # the fold whose features are extracted


def check_divergences(e: Experiment) -> Iterator[str]:
    """Every mistake of an experiment's `divergences` and of the figures made of them."""
    asked, figures = e.divergences, e.paper.figures
    drawn = [name for name in registry.SIGMA_FIGURES if getattr(figures, name)]
    if asked is None:
        yield from (f"paper.figures.{name}: is made of `divergences`, which is not given" for name in drawn)
        return
    if e.images:
        yield from _images(e, asked)
    elif asked.probe:
        yield "divergences.probe: given, but there are no features; wanted it with images"
    grader = e.discriminators.get(asked.grader)
    yield unknown(
        "divergences.grader",
        asked.grader,
        "a discriminator that grades",
        [n for n, d in e.discriminators.items() if d.role == "grade"],
    )
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
    for name in (*asked.blocks, asked.calibrate):
        yield unknown("divergences.blocks", name, "a block", e.evaluate.blocks)
    if asked.calibrate in asked.blocks:
        yield f"divergences.calibrate: given {asked.calibrate!r}, a block that is reported; wanted one of its own"
    yield from _sizes(e, asked)
    if grader and asked.bins < 2:
        yield f"divergences.bins: given {asked.bins}, wanted at least 2"
    if figures.divergence_sigma and grader:
        for point in figures.divergence_sigma.points:
            yield unknown("paper.figures.divergence_sigma.points", point, "a graded point", grader.points)
    for variant in figures.divergence_weight.variants if figures.divergence_weight else ():
        yield unknown("paper.figures.divergence_weight.variants", variant, "a variant", e.variants)


def _images(e: Experiment, asked: Divergences) -> Iterator[str]:
    """What images have no use for, and what they need."""
    grader, fold = e.discriminators.get(asked.grader), e.folds.get(asked.real)
    if is_large(e):
        yield f"divergences: given for {e.dataset.name}; wanted it with small images: nothing grades larger ones yet"
    for key in ("coverage", "theorem"):
        if getattr(asked, key):
            yield f"divergences.{key}: given for images; wanted it where the data's density is known"
    if asked.probe is None:
        yield "divergences.probe: is missing; on images divergences are estimated in every feature space, too"
    if asked.real != REFERENCE or getattr(fold, "split", None) != "test":
        yield f"divergences.real: given {asked.real!r}, wanted {REFERENCE!r} of the split test: its features are there, and no net has seen it"
    if grader and asked.null_real not in (None, grader.real):
        yield f"divergences.null_real: given {asked.null_real!r}, wanted {grader.real!r}: two parts of the graders' own fold"


def _sizes(e: Experiment, asked: Divergences) -> Iterator[str]:
    """The real points must do for what is reported and what is calibrated; seeds must be new."""
    first, last = next(iter(e.evaluate.blocks.values()))
    n, fold = last - first + 1, e.folds.get(asked.real)
    if e.images and getattr(fold, "n", None) is None:
        n = 0  # a whole split
    if fold is not None and (getattr(fold, "n", None) or 0) < 2 * n:
        yield f"divergences.real: holds {getattr(fold, 'n', 0)} points, wanted {n} to calibrate with and at least {n} more"
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
