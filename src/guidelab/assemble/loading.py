"""Load the nets and datasets that a job's part of the spec names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.errors import UserError
from guidelab.io import load_arrays, sha256
from guidelab.registry import DATASETS, NETS


@dataclass(frozen=True)
class Nets:
    """The nets of one training seed: denoisers by model name, discriminators by theirs."""

    models: Mapping[str, nn.Module]
    discriminators: Mapping[str, nn.Module]


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
    net: nn.Module = NETS.load(config.pop("name"))(**config)
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
    """The registered dataset of a spec's `dataset` entry: its examples, and what a sampler starts from."""
    return DATASETS.load(spec["name"])(spec["classes"])
