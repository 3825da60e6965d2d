"""Settings of the divergence estimation in params.yaml: grader, points, noise levels, numbers of draws."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from guidelab.spec.base import (
    Batch,
    Channels,
    Decay,
    Few,
    Many,
    Name,
    Seed,
    Seeds,
    Strict,
    Weight,
    split_point,
)
from guidelab.spec.data import REFERENCE, DrawnFold
from guidelab.spec.denoisers import Denoiser
from guidelab.spec.discriminators import Discriminator
from guidelab.spec.marks import Once, Ref
from guidelab.spec.mistakes import Mistake, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

_SMALL = ("ci", "smoke")  # scales whose numbers mean nothing
_PER_BIN = 16  # noise levels of each side in a bin: fewer show no spread, and none would end the job
_PERMUTATIONS = 99  # p-values down to 0.01
_REPEATS = 200  # a share near 95 % is then known to 3 %, twice its standard error
_PART = 10  # vectors that a probe needs in each of its three parts


class Coverage(Strict):
    """Repeats of the whole estimate on fresh points, for data that can be drawn at will.

    How often 95 % intervals hold what they estimate can only be counted; one estimate shows nothing of it.
    """

    draws: Annotated[int, Field(gt=0, le=100_000)]
    n_real: Many  # real points of each repeat of a gain
    n_samples: Many  # samples of each repeat of a bound, and as many real points
    seeds: Seeds  # of the samples: draws times n_samples
    seed: Seed  # of the real points and the noise

    @model_validator(mode="after")
    def _whole(self) -> "Coverage":
        first, last = self.seeds
        if last - first + 1 != self.draws * self.n_samples:
            raise ValueError(
                f"seeds = {first}-{last} are {last - first + 1}, wanted draws x n_samples = {self.draws * self.n_samples}"
            )
        if not 2 <= self.n_samples <= self.n_real:
            raise ValueError(f"n_samples = {self.n_samples}, wanted 2 to n_real = {self.n_real}")
        return self


class Probe(Strict):
    """A small net on features of clean images that separates real from generated; best on a validation part of both."""

    hidden: Channels
    lr: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    weight_decay: Decay
    batch: Batch
    iterations: Many
    evaluate_every: Many
    patience: Annotated[int, Field(gt=0, le=1_000_000)]
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.8)]
    seed: Seed

    @model_validator(mode="after")
    def _learns_and_is_judged(self) -> "Probe":
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test = {self.validation + self.test:g}, wanted less than 1: the rest is trained on"
            )
        if self.evaluate_every > self.iterations:
            raise ValueError(
                f"evaluate_every = {self.evaluate_every} is more than iterations = {self.iterations}"
            )
        return self


class Divergences(Strict):
    """Estimates of the sampler at every point of a grader, on real points and samples that neither net has seen."""

    _later = frozenset({"probe"})

    grader: Name  # a discriminator of role grade: its points and training seeds are those estimated
    real: Annotated[Name, Ref("folds")]  # a fold of its own: held out from denoisers, guides and graders
    blocks: Annotated[
        list[Annotated[Name, Ref("blocks")]], Field(min_length=1, max_length=100), Once()
    ]  # samples that are reported
    calibrate: Annotated[Name, Ref("blocks")]  # temperatures are fitted on it, with as many points of `real`
    null_real: Annotated[Name, Ref("folds")] | None = (
        None  # a second real fold: a grader of it against its own fold must find no difference
    )
    bins: Annotated[int, Field(gt=0, le=100_000)]  # noise bins, equally wide in ln sigma
    draws: Few  # noise levels for each point, each with both signs of the noise
    permutations: Annotated[int, Field(gt=0, le=1_000_000)]
    seed: Seed  # of noise levels, noise and shuffles
    coverage: Coverage | None = None
    probe: Probe | None = None  # on images: also in every feature space
    theorem: Annotated[list[Weight], Field(min_length=1, max_length=100), Once()] | None = (
        None  # weights of the exact table of samplers
    )

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Data that a net has seen, samples that chose something, too few of either, samplers without a score."""
        graders = [name for name, disc in e.discriminators.items() if disc.role == "grade"]
        yield unknown(f"{where}.grader", self.grader, "a discriminator that grades", graders)
        grader = e.discriminators.get(self.grader)
        yield from self._images(e, grader, where) if e.images else self._coordinates(e, grader)
        yield from self._folds(e, where)
        yield from self._blocks(e, where)
        yield from self._seeds(e, where)
        yield from self._sizes(e, where)
        if grader and grader.role == "grade":
            yield from self._flows(e, grader)

    def _images(self, e: "Experiment", grader: Discriminator | None, where: str) -> Iterator[str]:
        """What estimates on images need."""
        fold = e.folds.get(self.real)
        if self.probe is None:
            yield f"{where}.probe: is missing; on images divergences are estimated in every feature space, too"
        if self.real != REFERENCE or getattr(fold, "split", None) != "test":
            yield f"{where}.real: given {self.real!r}, wanted {REFERENCE!r} of the split test: its features are there, and no net has seen it"
        if grader and self.null_real not in (None, grader.real):
            yield f"{where}.null_real: given {self.null_real!r}, wanted {grader.real!r}: two parts of the graders' own fold"

    def _coordinates(self, e: "Experiment", grader: Discriminator | None) -> Iterator[str]:
        """The noise level at which bounds are taken must be one the grader was trained at."""
        lowest = getattr(e.sampler, "sigma_min", 0.0)
        if grader is None:
            return
        where, why = f"discriminators.{self.grader}.train", "the sampler's sigma_min, where bounds are taken"
        if grader.train.sigma_min > lowest:
            yield f"{where}.sigma_min: given {grader.train.sigma_min}, wanted at most {lowest}, {why}: lower it, or raise sampler.sigma_min"
        if grader.train.sigma_max <= lowest:
            yield f"{where}.sigma_max: given {grader.train.sigma_max}, wanted more than {lowest}, {why}"

    def _folds(self, e: "Experiment", where: str) -> Iterator[str]:
        """Real points that no net was trained on, and further ones for the null discriminator."""
        for key in ("real", "null_real"):
            fold = getattr(self, key)
            users = [name for name, disc in e.discriminators.items() if fold and disc.real == fold]
            if users and not (e.images and key == "null_real"):
                yield f"{where}.{key}: given {fold!r}, on which {', '.join(users)} is trained; wanted a fold no net has seen"
        if self.null_real == self.real:
            yield f"{where}.null_real: given {self.null_real!r}, the fold that is reported; wanted another one"

    def _blocks(self, e: "Experiment", where: str) -> Iterator[str]:
        """Samples that are reported are not those that chose a weight or a temperature."""
        chose = e.evaluate.select_block
        if chose in self.blocks:
            free = ", ".join(b for b in e.evaluate.blocks if b != chose)
            yield f"{where}.blocks: given {chose!r}, on which weights are chosen (evaluate.select_block); wanted some of {free}"
        if self.calibrate in self.blocks:
            yield f"{where}.calibrate: given {self.calibrate!r}, a block that is reported; wanted one of its own"

    def _seeds(self, e: "Experiment", where: str) -> Iterator[str]:
        """Seeds of real points, noise and repeats, all apart: a seed used twice gives the same numbers twice."""
        taken = {
            fold.seed: f"folds.{name}.seed" for name, fold in e.folds.items() if isinstance(fold, DrawnFold)
        }
        own = {f"{where}.seed": self.seed}
        if self.coverage:
            own[f"{where}.coverage.seed"] = self.coverage.seed
            own[f"{where}.coverage.seeds"] = self.coverage.seeds[0]  # draws the null's samples
        for place, seed in own.items():
            if seed in taken:
                yield f"{place}: given {seed}, which is {taken[seed]}, too: the draws would be the same; wanted a seed of its own"
            taken.setdefault(seed, place)

    def _sizes(self, e: "Experiment", where: str) -> Iterator[str]:
        """Points for what is reported, calibrated and compared with itself; noise levels for every bin; repeats."""
        block, n = e.evaluate.sizes()[0], getattr(e.folds.get(self.real), "n", None)
        levels = {"a block": block * self.draws}
        if e.images:
            yield from self._image_sizes(e, block, where)
        elif n is not None and n < 2 * block:
            yield f"{where}.real: holds {n} points, wanted {block} to calibrate with and at least {block} more"
        elif n is not None and self.null_real:
            levels[f"a quarter of {self.real!r}"] = n // 4 * self.draws  # the null's
        if self.coverage:
            levels["coverage.n_real"] = self.coverage.n_real
        scarce = min(levels, key=lambda name: levels[name])
        most = levels[scarce] // _PER_BIN
        if not 2 <= self.bins <= most:
            yield (
                f"{where}.bins: given {self.bins}, wanted 2 to {most}: {_PER_BIN} noise levels or more in each, of the "
                f"{levels[scarce]} that {scarce} gives; take fewer bins, or more points"
            )
        if e.scale in _SMALL:
            return
        if self.permutations < _PERMUTATIONS:
            yield f"{where}.permutations: given {self.permutations}, wanted at least {_PERMUTATIONS}, for p-values down to 0.01"
        if self.coverage and self.coverage.draws < _REPEATS:
            yield (
                f"{where}.coverage.draws: given {self.coverage.draws}, wanted at least {_REPEATS}, to know a share of 95 % to "
                "3 %; raise it, with as many more seeds"
            )

    def _image_sizes(self, e: "Experiment", block: int, where: str) -> Iterator[str]:
        """Folds of a given size must do for two sides of the null; a probe's parts must hold something."""
        reported = len(self.blocks) * block
        n, sides = getattr(e.folds.get(self.real), "n", None), 2 if self.null_real else 1
        if n is not None and n < sides * (reported + block):
            yield (
                f"{where}.real: holds {n} images, wanted at least {sides * (reported + block)}: {sides} x {reported} to report "
                f"and {block} to calibrate with; give a larger fold, or smaller blocks"
            )
        grader = e.discriminators.get(self.grader)
        own = getattr(e.folds.get(grader.real), "n", None) if grader else None
        if grader and grader.generated and own is not None and self.null_real == grader.real:
            apart = grader.generated.seeds[1] - grader.generated.seeds[0] + 1
            if own < 2 * apart:
                yield (
                    f"folds.{grader.real}.n: given {own}, wanted at least {2 * apart}: the null sets {apart} apart, as many as a "
                    "grader has samples, and no fewer against them; give a larger fold, or graders fewer samples"
                )
        if self.probe:
            held, tested = (round(share * reported) for share in (self.probe.validation, self.probe.test))
            if min(held, tested, reported - held - tested) < _PART:
                yield (
                    f"{where}.probe: {reported} samples leave {reported - held - tested} to train, {held} to validate and "
                    f"{tested} to test; wanted at least {_PART} in each: raise the smallest share, or the blocks"
                )

    def _flows(self, e: "Experiment", grader: Discriminator) -> Iterator[str]:
        """Estimates evaluate a sampler's score at any noise level: it must be a denoiser that is not random."""
        if _on_latents(e, grader):
            yield f"discriminators.{self.grader}.pixels: wanted true: a grader learns from pixels, not from the dataset's latents"
        where = f"discriminators.{self.grader}.points"
        for point in grader.points:
            variant = e.variants.get(split_point(point)[0])
            used = [variant.main, *(t.ref for t in variant.guide if t.ref)] if variant else []
            degraded = [
                m for m in used if m in e.models and e.models[m].degrade != type(e.models[m].degrade)()
            ]
            if degraded:
                yield f"{where}: given {point!r}, whose net {degraded[0]!r} is degraded at random: it has no score to estimate with; wanted a point without"
            on_latents = [
                m for m in used if m in e.models and _on_latents(e, e.denoisers.get(e.models[m].denoiser))
            ]
            if on_latents:
                yield f"{where}: given {point!r}, whose net {on_latents[0]!r} works on latents; wanted a point on pixels: held-out images are not encoded"
            if variant and variant.real:
                yield f"{where}: given {point!r}, which shows real images; wanted a sampler"
            if variant and any(term.boost for term in variant.guide):
                yield f"{where}: given {point!r}, which is boosted: its steps follow no score; wanted a point without"


def _on_latents(e: "Experiment", entry: Denoiser | Discriminator | None) -> bool:
    return entry is not None and getattr(e.dataset, "latent", None) is not None and not entry.pixels
