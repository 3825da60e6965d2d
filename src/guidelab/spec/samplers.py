"""Samplers and their noise levels."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from guidelab.spec.base import UNION, Batch, Name, Sigma, Steps, Strict
from guidelab.spec.levels import chain_levels, edm_levels
from guidelab.spec.marks import Registered

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

CHAINS = ("ddpm", "ddim")  # samplers of a discrete chain
Dtype = Literal["float32", "float64"]


class Sampler(Strict):
    """A sampler on EDM's noise levels."""

    name: Annotated[Name, Registered("sampler")]
    steps: Steps
    sigma_min: Sigma
    sigma_max: Sigma
    rho: Annotated[float, Field(ge=0.5, le=100, allow_inf_nan=False)]  # 1: levels evenly spaced
    dtype: Dtype

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Levels that do not descend."""
        if self.sigma_min >= self.sigma_max:
            yield f"{where}.sigma_min: given {self.sigma_min}, wanted less than sigma_max {self.sigma_max}"

    def levels(self, steps: int | None = None) -> tuple[float, ...]:
        """The noise level each step starts from, descending."""
        return edm_levels(steps or self.steps, self.sigma_min, self.sigma_max, self.rho)


class ChainSampler(Strict):
    """A sampler of the discrete chain of 1,000 steps that ADM and DiT were trained on, respaced."""

    name: Literal["ddpm", "ddim"]
    steps: Annotated[int, Field(ge=2, le=1000)]
    schedule: Literal["linear", "cosine"] = "linear"
    clip: bool = False  # the denoised image to [-1, 1]: pixels only
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0  # ddim: 0 is deterministic
    dtype: Dtype = "float32"

    def levels(self, steps: int | None = None) -> tuple[float, ...]:
        """The noise level each step starts from, descending."""
        return chain_levels(min(steps or self.steps, 1000), self.schedule)


class Sampling(Strict):
    """How samples are computed and stored; none of it changes what is sampled but by rounding."""

    precision: Literal["float32", "bfloat16", "float16"] = (
        "float32"  # of nets on a GPU; on a CPU always float32
    )
    batch: Batch = 64
    decode_batch: Batch = 16  # images of an autoencoder at once
    uint8: Literal["edm", "truncate"] = "edm"  # 127.5 x + 128, or ADM's (x + 1) * 127.5 without rounding


def _chain(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return f"{UNION}chain" if name in CHAINS else f"{UNION}levels"


AnySampler = Annotated[
    Annotated[Sampler, Tag(f"{UNION}levels")] | Annotated[ChainSampler, Tag(f"{UNION}chain")],
    Discriminator(_chain),
]
