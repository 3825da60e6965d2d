"""Samplers and their noise levels."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from guidelab.spec.base import UNION, Name, Positive, Size, Strict

CHAINS = ("ddpm", "ddim")  # samplers of a discrete chain


class Sampler(Strict):
    """A sampler on EDM's noise levels."""

    name: Name
    steps: Annotated[int, Field(ge=2)]
    sigma_min: Positive
    sigma_max: Positive
    rho: Positive
    dtype: Literal["float32", "float64"]


class ChainSampler(Strict):
    """A sampler of the discrete chain of 1,000 steps that ADM and DiT were trained on, respaced."""

    name: Literal["ddpm", "ddim"]
    steps: Annotated[int, Field(ge=2, le=1000)]
    schedule: Literal["linear", "cosine"] = "linear"
    clip: bool = False  # the denoised image to [-1, 1]: pixels only
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0  # ddim: 0 is deterministic
    dtype: Literal["float32", "float64"] = "float32"


class Sampling(Strict):
    """How samples are computed and stored; none of it changes what is sampled but by rounding."""

    precision: Literal["float32", "bfloat16", "float16"] = (
        "float32"  # of nets on a GPU; on a CPU always float32
    )
    batch: Size = 64
    decode_batch: Size = 16  # images of an autoencoder at once
    uint8: Literal["edm", "truncate"] = "edm"  # 127.5 x + 128, or ADM's (x + 1) * 127.5 without rounding


def _chain(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return f"{UNION}chain" if name in CHAINS else f"{UNION}levels"


AnySampler = Annotated[
    Annotated[Sampler, Tag(f"{UNION}levels")] | Annotated[ChainSampler, Tag(f"{UNION}chain")],
    Discriminator(_chain),
]
