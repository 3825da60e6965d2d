"""A sampler's part of the spec -> nets loaded, guidance nested -> one denoiser. No formulas, no loops over steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab import registry
from guidelab.core.degrade import dropout, input_noise
from guidelab.core.denoiser import Denoiser, cast
from guidelab.core.guidance import Correction, Guided, Interval, Term
from guidelab.errors import UserError
from guidelab.io import load_arrays, sha256

_SALTS = {
    "main": 1,
    "ref": 2,
}  # main and reference nets draw independent masks and noises for one seed and step


@dataclass(frozen=True)
class Nets:
    """The nets of one training seed: denoisers by model name, discriminators by theirs."""

    models: Mapping[str, nn.Module]
    discriminators: Mapping[str, nn.Module]


@dataclass(frozen=True)
class Assembled:
    """What a sampler is given: the guided denoiser, and the guidance of first evaluations only."""

    predict: Denoiser
    correct: Correction | None


def load_nets(
    inputs: Mapping[str, Sequence[str]], train_seed: int, discs: Mapping[str, Mapping[str, Any]] | None = None
) -> Nets:
    """Load every `model:<name>` and `disc:<name>` file of a job, at one training seed, frozen and in eval mode.

    Args:
        inputs: files by label.
        train_seed: of the denoisers.
        discs: by discriminator, a training seed of its own (`seed`; None: that of the denoisers) and after how many
            `iterations` it is taken (None: as it was kept).
    Raises:
        UserError: a file is absent, broken, of another architecture, or lacks this training seed or snapshot.
    """
    found: dict[str, dict[str, nn.Module]] = {"model": {}, "disc": {}}
    for label, paths in inputs.items():
        kind, _, name = label.partition(":")
        if kind in found:
            how = (discs or {}).get(name, {}) if kind == "disc" else {}
            seed = train_seed if how.get("seed") is None else how["seed"]
            found[kind][name] = load_net(paths[0], seed)
            if how.get("iterations"):
                found[kind][name].load_state_dict(snapshot(paths[0], seed, how["iterations"]))
    return Nets(found["model"], found["disc"])


def snapshot(path: str, seed: int, iterations: int) -> dict[str, Tensor]:
    """A discriminator's parameters after a number of iterations.

    Raises:
        UserError: the file holds no such snapshot.
    """
    tensors, meta = load_arrays(path)
    prefix = f"it{iterations}/seed{seed}/"
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not state:
        raise UserError(
            f"{path}: keeps nothing after {iterations} iterations of training seed {seed} (it keeps "
            f"{meta.get('iterations')}); give one of these as `iterations`, or train for longer"
        )
    return state


def load_net(path: str | Path, train_seed: int, device: str = "cpu") -> nn.Module:
    """One network of a checkpoint file, built from the configuration the file carries.

    Raises:
        UserError: see `load_nets`.
    """
    tensors, meta = load_arrays(path)
    prefix = f"seed{train_seed}/"
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if "net" not in meta or not state:
        raise UserError(
            f"{path}: holds no net of training seed {train_seed} (it has seeds {meta.get('seeds')}). "
            "Delete the file and run again."
        )
    config = dict(meta["net"])
    net: nn.Module = registry.load("net", config.pop("name"))(**config)
    try:
        net.load_state_dict({key: value.to(torch.float32) for key, value in state.items()})
    except RuntimeError as error:
        raise UserError(
            f"{path}: does not fit the net it names ({meta['net']}): {str(error).splitlines()[-1].strip()}"
        ) from error
    return net.to(device).eval().requires_grad_(False)


def nets_sha256(inputs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """sha256 of each net file of a job, by its label."""
    return {
        label: sha256(paths[0]) for label, paths in inputs.items() if label.split(":")[0] in ("model", "disc")
    }


def dataset(spec: Mapping[str, Any]) -> Any:
    """The registered dataset of a spec's `dataset` entry."""
    return registry.load("dataset", spec["name"])(spec["classes"])


def assemble(spec: Mapping[str, Any], nets: Nets, seeds: Tensor | None, *, flow: bool = False) -> Assembled:
    """Nest the guidance of one sampler.

    Args:
        spec: `main`, `terms` and `degrade` of a job (see `RunJobs._sampler_spec`).
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
    """Nets are evaluated in float32 whatever the sampler integrates in."""
    return cast(wrapped, torch.float32) if spec["sampler"]["dtype"] == "float64" else wrapped


def _term(
    spec: Mapping[str, Any], term: Mapping[str, Any], nets: Nets, seeds: Tensor | None, factor: float
) -> Term:
    entry = registry.METHODS[term["method"]]
    weight = entry.neutral + factor * (term["weight"] - entry.neutral)
    make: Callable[..., Term] = registry.load("method", term["method"])
    options = {**term.get("options", {}), **({"channels": term["channels"]} if "channels" in term else {})}
    if entry.needs == "ref":
        built = make(_degraded(spec, term["ref"], "ref", nets, seeds), weight, **options)
    elif entry.needs == "disc":
        built = make(nets.discriminators[term["disc"]], weight, **options)
    else:
        built = make(weight, **options)
    if term["sigma_lo"] > 0 or term["sigma_hi"] is not None:
        return Interval(built, term["sigma_lo"], term["sigma_hi"] or float("inf"))
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
        predict = dropout(net, seeds, degrade["dropout"], salt)
    if degrade["input_noise"]:
        assert seeds is not None  # checked above
        predict = input_noise(predict, seeds, degrade["input_noise"], salt)
    return predict
