"""Samplers and their noise levels."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    WithJsonSchema,
    model_serializer,
)

from guidelab import registry
from guidelab.errors import UserError
from guidelab.registry import plugins
from guidelab.spec.base import UNION, Batch, Name, Number, Plug, Positive, Sigma, Steps, Strict
from guidelab.spec.levels import chain_levels, edm_levels
from guidelab.spec.marks import Registered

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

Dtype = Literal["float32", "float64"]


class Sampler(Strict):
    """A sampler on EDM's noise levels; `S_churn` above 0 makes it stochastic (EDM's algorithm 2)."""

    _later = frozenset({"S_churn", "S_min", "S_max", "S_noise"})

    name: Annotated[Name, Registered("sampler")]
    steps: Steps
    sigma_min: Sigma
    sigma_max: Sigma
    rho: Annotated[float, Field(ge=0.5, le=100, allow_inf_nan=False)]  # 1: levels evenly spaced
    dtype: Dtype
    S_churn: Annotated[Number, Field(ge=0)] = 0.0  # fresh noise in all; the steps in [S_min, S_max] share it
    S_min: Annotated[Number, Field(ge=0)] = 0.0
    S_max: Positive | None = None
    S_noise: Positive = 1.0  # standard deviation of the fresh noise

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Levels that do not descend; churn of a sampler that has none."""
        if self.S_churn and (self.name != "heun" or not e.images):
            yield f"{where}.S_churn: given {self.S_churn}, wanted it only with sampler heun and a dataset of images"
        if self.sigma_min >= self.sigma_max:
            yield f"{where}.sigma_min: given {self.sigma_min}, wanted less than sigma_max {self.sigma_max}"

    def levels(self, steps: int | None = None) -> tuple[float, ...]:
        """The noise level each step starts from, descending."""
        return edm_levels(steps or self.steps, self.sigma_min, self.sigma_max, self.rho)

    @property
    def per_step(self) -> tuple[int, int]:
        """Evaluations of the net in every step but the last, and in the last one."""
        return registry.evaluations({"name": self.name})


_PLUGIN_NAME = {"type": "string", "maxLength": 160, "not": {"enum": sorted(registry.SAMPLERS)}}


class PluginSampler(Sampler):
    """A sampler of a user's own on EDM's noise levels, with the options of its class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Annotated[Plug, Registered("sampler"), WithJsonSchema(_PLUGIN_NAME)]

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Options that its class does not take."""
        yield from super().problems(e, where)
        try:
            registry.entry("sampler", self.name)
        except UserError:
            return  # it cannot be loaded: its annotation reports that
        wrong = registry.options_mistake("sampler", self.name, self.model_extra or {}, 2)
        if wrong:
            yield f"{where}: {self.name}: {wrong}"

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        own, options = handler(self), self.model_extra or {}
        own = {key: value for key, value in own.items() if key not in options}
        return own | {"options": dict(options), "evaluations": self.per_step}


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

    @property
    def per_step(self) -> tuple[int, int]:
        """See `Sampler`."""
        return registry.evaluations({"name": self.name})


class Sampling(Strict):
    """How samples are computed and stored; none of it changes what is sampled but by rounding."""

    precision: Literal["float32", "bfloat16", "float16"] = (
        "float32"  # of nets on a GPU; on a CPU always float32
    )
    batch: Batch = 64
    decode_batch: Batch = 16  # images of an autoencoder at once
    uint8: Literal["edm", "truncate"] = "edm"  # 127.5 x + 128, or ADM's (x + 1) * 127.5 without rounding


def _by_name(value: Any) -> str:
    name = str(value.get("name") if isinstance(value, dict) else getattr(value, "name", None))
    if name in registry.SAMPLERS:
        return f"{UNION}chain" if registry.SAMPLERS[name].needs == "chain" else f"{UNION}levels"
    own = plugins.is_plugin(name) or name in plugins.installed("sampler")
    return f"{UNION}plugin" if own else f"{UNION}levels"


AnySampler = Annotated[
    Annotated[Sampler, Tag(f"{UNION}levels")]
    | Annotated[ChainSampler, Tag(f"{UNION}chain")]
    | Annotated[PluginSampler, Tag(f"{UNION}plugin")],
    Discriminator(_by_name),
]
