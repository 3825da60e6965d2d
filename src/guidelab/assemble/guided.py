"""Combine a sampler's nets and guidance terms into one guided denoiser."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidelab.assemble.loading import Nets
from guidelab.core.denoiser import Denoiser, cast
from guidelab.core.guidance import Correction, Guided
from guidelab.registry import ADDITIONS, METHODS

if TYPE_CHECKING:
    from guidelab.core.guidance import Term

_SALTS = {
    "main": 1,
    "ref": 2,
}  # main and reference nets draw independent masks and noises for one seed and step


@dataclass(frozen=True)
class Assembled:
    """What a sampler is given: the guided denoiser, and the guidance of first evaluations only."""

    predict: Denoiser
    correct: Correction | None


def assemble(spec: Mapping[str, Any], nets: Nets, seeds: Tensor | None, *, flow: bool = False) -> Assembled:
    """Nest the guidance of one sampler.

    Args:
        spec: `main`, `terms` and `degrade` of a job (see `plan.build.slices.sampler`).
        nets: the nets it names.
        seeds: seeds `[B]` of the samples it will be called with; needed by degraded nets only.
        flow: for the probability-flow ODE: guidance of the first evaluations only acts at both with half its
            weight, which is what it amounts to as steps get small.
    """
    main = _degraded(spec, spec["main"], "main", nets, seeds)
    both: list[Term] = []
    first: list[Term] = []
    for term in spec["terms"]:
        is_first = term["stages"] == "first"
        built = _term(spec, term, nets, seeds, 0.5 if is_first and flow else 1.0)
        (first if is_first and not flow else both).append(built)
    precise = _lower(Guided(main, both), spec)
    return Assembled(precise, _lower(Correction(first), spec) if first else None)


def _lower(wrapped: Any, spec: Mapping[str, Any]) -> Any:
    """Nets are evaluated in float32 for any dtype of the sampler."""
    return cast(wrapped, torch.float32) if spec["sampler"]["dtype"] == "float64" else wrapped


def _term(
    spec: Mapping[str, Any], term: Mapping[str, Any], nets: Nets, seeds: Tensor | None, factor: float
) -> "Term":
    entry = METHODS[term["method"]]
    weight = entry.neutral + factor * (term["weight"] - entry.neutral)
    make: Callable[..., Term] = METHODS.load(term["method"])
    options = {**term.get("options", {}), **({"channels": term["channels"]} if "channels" in term else {})}
    built: Term
    if entry.needs == "ref":
        built = make(_degraded(spec, term["ref"], "ref", nets, seeds), weight, **options)
    elif entry.needs == "disc":
        built = make(nets.discriminators[term["disc"]], weight, **options)
    else:
        built = make(weight, **options)
    if term["sigma_lo"] > 0 or term["sigma_hi"] is not None:
        built = ADDITIONS.load("interval")(built, term["sigma_lo"], term["sigma_hi"] or float("inf"))
    return built


def _degraded(spec: Mapping[str, Any], model: str, role: str, nets: Nets, seeds: Tensor | None) -> Denoiser:
    """A model as a denoiser, with the degradation params.yaml gives it."""
    net: Any = nets.models[model]
    degrade = spec["degrade"][model]
    salt = _SALTS[role]
    if (degrade["dropout"] or degrade["input_noise"]) and seeds is None:
        raise ValueError(f"assemble: {model} is degraded, so it needs the seeds of its samples")
    predict: Denoiser = net
    if degrade["dropout"]:
        assert seeds is not None  # checked above
        predict = ADDITIONS.load("dropout")(net, seeds, degrade["dropout"], salt)
    if degrade["input_noise"]:
        assert seeds is not None  # checked above
        predict = ADDITIONS.load("input_noise")(predict, seeds, degrade["input_noise"], salt)
    return predict
