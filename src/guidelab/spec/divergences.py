"""How divergences are estimated along sigma: which grader, which points, which noise levels, how many draws."""

from typing import Annotated

from pydantic import Field, model_validator

from guidelab.spec.base import Name, Positive, Seeds, Size, Strict, Weight


class Coverage(Strict):
    """Repeats of the whole estimate on fresh points, for data that can be drawn at will.

    How often 95 % intervals hold what they estimate can only be counted; one estimate shows nothing of it.
    """

    draws: Size
    n_real: Size  # real points of each repeat of a gain
    n_samples: Size  # samples of each repeat of a bound, and as many real points
    seeds: Seeds  # of the samples: draws times n_samples
    seed: int  # of the real points and the noise

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
    """A small net on features of clean images that tells real from generated; best on a validation part of both sides."""

    hidden: Size
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    batch: Size
    iterations: Size
    evaluate_every: Size
    patience: Size
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.8)]
    seed: int

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
    real: Name  # a fold of its own: held out from denoisers, guides and graders
    blocks: Annotated[list[Name], Field(min_length=1)]  # samples that are reported
    calibrate: Name  # the block on which temperatures are fitted; as many points of `real` go with it
    null_real: Name | None = (
        None  # a second real fold: a grader learns to tell it from its own, and should not be able to
    )
    bins: Size  # noise bins, equally wide in ln sigma
    draws: Size  # noise levels for each point, each with both signs of the noise
    permutations: Size
    seed: int  # of noise levels, noise and shuffles
    coverage: Coverage | None = None
    probe: Probe | None = None  # on images: also in every feature space
    theorem: Annotated[list[Weight], Field(min_length=1)] | None = (
        None  # weights of the exact table of samplers
    )
