"""Variants: a main model, its guidance terms, and the weights to sweep."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from guidelab.spec.base import Label, Name, Steps, Strict, Weight, format_weight
from guidelab.spec.denoisers import CHAIN_NETS, TrainSeeds
from guidelab.spec.labels import Look
from guidelab.spec.levels import acting, rounded
from guidelab.spec.look import nets_known, seeds_of
from guidelab.spec.marks import Once, Ref
from guidelab.spec.mistakes import Mistake, shown
from guidelab.spec.samplers import AnySampler, ChainSampler, PluginSampler
from guidelab.spec.terms import Term, entry_of

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

_CHAIN_MIN, _CHAIN_MAX = 0.01, 157.41  # noise levels of the first and last step of the linear chain of 1,000


def _listed(value: Any) -> Any:
    """One term may be written without the list."""
    return [value] if isinstance(value, dict) else value


class Variant(Strict):
    """A main model, its guidance and the weights to sweep."""

    main: Annotated[Name, Ref("models")]
    guide: Annotated[
        list[Term], BeforeValidator(_listed, json_schema_input_type=Term | list[Term]), Field(max_length=20)
    ] = []
    weights: Annotated[list[Weight], Field(min_length=1, max_length=10_000), Once()] | None = None
    train_seeds: TrainSeeds | None = None
    steps: Steps | None = None  # instead of sampler.steps; never compared across
    sampler: AnySampler | None = None  # instead of the experiment's
    real: Annotated[Name, Ref("folds")] | None = (
        None  # examples of a fold instead of samples: the best that is possible
    )
    label: Label | None = None  # what figures and tables print; by default from the terms
    group: Label | None = None  # its part of the tables and its hue; by default those of its method
    look: Look | None = None

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Weights without guidance, nets that do not go together, intervals in which nothing acts."""
        yield from self._weights(where)
        yield from self._itself(e, where)
        yield from self._intervals(e, where)
        if nets_known(e, self):
            yield from self._seeds(e, where)
        yield from self._boosted(where)
        yield from self._chain(e, where)
        if e.images:
            yield from self._classes(e, where)
            for term in self.guide:
                yield from self._within(e, term, where)
            yield from self._spaces(e, where)
        if self.real and (self.guide or self.weights):
            yield f"{where}: given real examples and guidance, wanted one of them"
        if self.steps and self.sampler:
            yield f"{where}.steps: given together with `sampler`, wanted the steps there"

    def remarks(self, e: "Experiment", where: str) -> Iterator[str]:
        """Bounds that are a step's noise level but for rounding: which side the step is on is then chance."""
        levels = self._levels(e)
        for i, term in enumerate(self.guide):
            for key, bound in (("sigma_lo", term.sigma_lo), ("sigma_hi", term.sigma_hi)):
                step = rounded(levels, bound) if bound else None
                if step is not None:
                    steps = acting(levels, term.sigma_lo, term.sigma_hi)
                    yield (
                        f"{where}.guide.{i}.{key}: given {bound}, which is step {step}'s sigma {levels[step]:.4f} but for rounding; "
                        f"steps {steps[0]} to {steps[-1]} are guided. Give a bound between two steps"
                        if steps
                        else f"{where}.guide.{i}.{key}: given {bound}, which is step {step}'s sigma {levels[step]:.4f} but for rounding"
                    )

    def _levels(self, e: "Experiment") -> Sequence[float]:
        return (self.sampler or e.sampler).levels(self.steps)

    def _weights(self, where: str) -> Iterator[str]:
        swept = [term for term in self.guide if term.weight is None]
        if self.guide and len(swept) != 1:
            yield f"{where}.guide: {len(swept)} terms without `weight`, wanted exactly one (the one `weights` sweeps)"
        if bool(self.guide) != bool(self.weights):
            given = "`guide` without `weights`" if self.guide else "`weights` without `guide`"
            yield f"{where}: given {given}, wanted both or neither"
        for w in self.weights or []:
            if round(w, 2) != w:
                yield f"{where}.weights: given {w}, wanted at most two decimals (weights name files: {format_weight(w)})"

    def _itself(self, e: "Experiment", where: str) -> Iterator[str]:
        """A net guided by itself: the difference is nothing, and the row would be that of no guidance."""
        main = e.models.get(self.main)
        for i, term in enumerate(self.guide):
            ref, entry = e.models.get(term.ref or ""), entry_of(term.method)
            if not (main and ref and entry) or entry.itself:
                continue
            equal = e.scale != "smoke" and main.content(e) == ref.content(
                e
            )  # smoke copies shrink to one size
            if equal or term.ref == self.main:
                same = (
                    ""
                    if term.ref == self.main
                    else f", which is the net of main {self.main!r} under another name"
                )
                yield f"{where}.guide.{i}.ref: given {term.ref!r}{same}, wanted another net: a net guided by itself is not guided"

    def _intervals(self, e: "Experiment", where: str) -> Iterator[str]:
        """Intervals in which no step of the sampler starts; smoke copies have too few steps for any."""
        sampler = self.sampler or e.sampler
        if e.scale == "smoke" or (getattr(sampler, "sigma_min", 0.0) >= getattr(sampler, "sigma_max", 1.0)):
            return
        levels = self._levels(e)
        for i, term in enumerate(self.guide):
            empty = term.sigma_hi is not None and term.sigma_lo >= term.sigma_hi
            if not empty and not acting(levels, term.sigma_lo, term.sigma_hi):
                yield (
                    f"{where}.guide.{i}: acts in ({term.sigma_lo}, {term.sigma_hi or 'inf'}], in which no step of the sampler starts; "
                    f"wanted some of its levels, {levels[0]:.4g} to {levels[-1]:.4g}; {_near(levels, term.sigma_lo)}"
                )

    def _seeds(self, e: "Experiment", where: str) -> Iterator[str]:
        common = seeds_of(e, self)
        if not common:
            yield f"{where}: its nets share no training seed; wanted at least one seed in all their `train.seeds`"
        seeds = self.train_seeds or common
        if self.real and len(seeds) > 1:
            yield f"{where}.train_seeds: given {shown(seeds)} for real examples, wanted one: they are the same in every training"
        for seed in self.train_seeds or []:
            if seed not in common:
                yield f"{where}.train_seeds: given {seed}, wanted one of {shown(common)}, the seeds all its nets are trained with"

    def _classes(self, e: "Experiment", where: str) -> Iterator[str]:
        """An unconditional main net gives no class: terms that need one cannot be evaluated."""
        if e.conditional(self.main):
            return
        for term in self.guide:
            disc = e.discriminators.get(term.disc or "")
            needs = e.conditional(term.ref) or term.method == "classifier"
            if needs or (disc and getattr(disc.net, "conditional", None)):
                yield (
                    f"{where}.guide: main {self.main!r} is unconditional, so samples have no class, but {term.ref or term.disc!r} "
                    "needs one; wanted unconditional nets throughout, or a conditional main net"
                )

    def _boosted(self, where: str) -> Iterator[str]:
        boosts = [term for term in self.guide if term.boost]
        for term in boosts:
            if term.method != "discriminator" or term.stages != "first":
                yield f"{where}.guide: given boost for {term.method} at stages {term.stages!r}, wanted `discriminator` and `stages: first`"
        if len(boosts) > 1:
            yield f"{where}.guide: given {len(boosts)} boosted terms, wanted at most one"
        discs = [term.disc for term in self.guide if term.disc]
        if len(discs) != len(set(discs)):
            yield f"{where}.guide: given {', '.join(discs)}, wanted each discriminator in one term"

    def _within(self, e: "Experiment", term: Term, where: str) -> Iterator[str]:
        """A discriminator acts where it was trained, and as it was kept."""
        train = e.discriminators[term.disc].train if term.disc in e.discriminators else None
        sampler = self.sampler or e.sampler
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

    def _spaces(self, e: "Experiment", where: str) -> Iterator[str]:
        """Nets of one variant work on the same: pixels or latents, never both."""
        main = e.on_pixels(self.main)
        if getattr(e.dataset, "latent", None) is None or main is None:
            return
        for term in self.guide:
            disc = e.discriminators.get(term.disc or "")
            for kind, name, pixels in (
                ("model", term.ref, e.on_pixels(term.ref)),
                ("discriminator", term.disc, disc.pixels if disc else None),
            ):
                if pixels not in (None, main):
                    yield (
                        f"{where}.guide: {kind} {name!r} {e.works(bool(pixels))}, but main {self.main!r} "
                        f"{e.works(main)}; wanted both on the same (`pixels` of their entries)"
                    )

    def _chain(self, e: "Experiment", where: str) -> Iterator[str]:
        """A net of the discrete chain can be sampled by both kinds; an EDM net has no chain."""
        sampler, model = self.sampler or e.sampler, e.models.get(self.main)
        plain = not isinstance(sampler, ChainSampler | PluginSampler) and not sampler.S_churn
        if any(term.boost for term in self.guide) and not plain:
            yield f"{where}.guide: given boost, wanted sampler heun without S_churn: boosting is defined there"
        if not isinstance(sampler, ChainSampler):
            return
        denoiser = e.denoisers.get(model.denoiser) if model else None
        if denoiser and denoiser.net.name not in CHAIN_NETS:
            yield f"{where}: main {self.main!r} is a net {denoiser.net.name}, which sampler {sampler.name} cannot step; wanted heun"


def _near(levels: Sequence[float], low: float) -> str:
    above = [sigma for sigma in levels if sigma > low]
    below = [sigma for sigma in levels if sigma <= low]
    return "nearest to sigma_lo: " + ", ".join(f"{sigma:.4g}" for sigma in (above[-1:] + below[:1]))
