"""Write a parameters file with an experiment on the user's nets, up to its table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guidelab.errors import UserError, counted
from guidelab.io import atomic_write
from guidelab.spec import format_weight
from guidelab.spec.load import bases, spec_of
from guidelab.study.drawing import ENCODINGS, SAMPLERS, Nets

BASE = "own_files"
_GUIDED = ("guided", "interval")  # the variants of the base that need a guide


@dataclass(frozen=True)
class Wanted:
    """What a study is of.

    Attributes:
        nets: main net, and guide. reference: folder or ZIP of real images, and `size`: height and width of its first.
        autoencoder: a row of checkpoints.csv, for nets on latents; `factor`: pixels to a side of a latent.
        weights: of the guide. interval: of noise levels. images: in each of the three blocks. class_: of all samples.
        churn: options of the sampler that make it stochastic.
        features: what numbers are measured in: an entry of `features`, and its name.
    """

    nets: Nets
    reference: Path
    size: tuple[int, int]
    autoencoder: str | None = None
    factor: int = 8
    weights: list[float] | None = None
    interval: tuple[float, float] | None = None
    images: int | None = None
    class_: int | None = None
    churn: dict[str, float] | None = None
    features: tuple[str, dict[str, Any]] | None = None


def entry(wanted: Wanted) -> dict[str, Any]:
    """The keys of an experiment that differ from its base.

    Raises:
        UserError: nets that do not go together, gray ones, or images that do not fit them.
    """
    found: dict[str, Any] = {"extends": BASE, "dataset": _dataset(wanted), "denoisers": _denoisers(wanted)}
    sampler = _sampler(wanted)
    if sampler:
        found["sampler"] = sampler
    if wanted.features:
        found["features"] = {"lite0": None, wanted.features[0]: wanted.features[1]}
    if wanted.nets.guide is None:
        found |= {"models": {"guide": None}, "variants": dict.fromkeys(_GUIDED)}
    elif changed := _swept(wanted):
        found["variants"] = changed
    if changed := _evaluate(wanted):
        found["evaluate"] = changed
    if changed := _paper(wanted):
        found["paper"] = changed
    return found


def _dataset(wanted: Wanted) -> dict[str, Any]:
    main, source = wanted.nets.main, wanted.reference
    channels, side = main.event
    resolution = side * wanted.factor if wanted.autoencoder else side
    if channels != 3 and not wanted.autoencoder:
        raise UserError(
            f"{main.path}: works on {channels} channels, wanted 3; for latents name their autoencoder: --autoencoder ROW "
            "(guidelab released)"
        )
    found: dict[str, Any] = {
        "resolution_px": resolution,
        "classes": max(main.classes, 1),
        "source": str(source),
    }
    if not source.is_dir():
        if wanted.size[0] != wanted.size[1] or wanted.size[0] < resolution:
            raise UserError(
                f"{source}: its first image is {wanted.size[1]} x {wanted.size[0]}, wanted square ones of {resolution} px or more; "
                "a folder of them is cropped and enlarged"
            )
        found = {"name": "image_zip", **found}
    if wanted.autoencoder:
        how = ENCODINGS.get(main.config["name"], "ldm")
        found["latent"] = {
            "autoencoder": wanted.autoencoder, "encoding": how, "side_px": side, "channels": channels,
        }  # fmt: skip
    return found


def _denoisers(wanted: Wanted) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, net in (("main", wanted.nets.main), ("guide", wanted.nets.guide)):
        if net is None:
            found[name] = None
            continue
        found[name] = {"net": {"name": net.config["name"], "file": str(net.path.absolute())}}
        if not net.classes:
            found[name]["conditional"] = False
    return found


def _sampler(wanted: Wanted) -> dict[str, Any]:
    """Where the net's authors sample it otherwise than the base."""
    base = bases()[BASE]["sampler"]
    own = SAMPLERS[wanted.nets.main.config["name"]]
    changed = {key: value for key, value in own.items() if base.get(key) != value}
    if own["name"] != base["name"]:
        if wanted.churn:
            raise UserError(
                f"--S_churn: given, but {wanted.nets.main.path} is sampled by {own['name']}; wanted a net of EDM or EDM2"
            )
        changed |= dict.fromkeys(("sigma_min", "sigma_max", "rho"))
    return changed | (wanted.churn or {})


def _swept(wanted: Wanted) -> dict[str, Any]:
    """Other weights, another interval."""
    changed: dict[str, Any] = {}
    if wanted.weights:
        changed = {name: {"weights": wanted.weights} for name in _GUIDED}
    if wanted.interval:
        low, high = wanted.interval
        term = {"method": "reference", "ref": "guide", "sigma_lo": low, "sigma_hi": high}
        changed["interval"] = changed.get("interval", {}) | {"guide": term}
    return changed


def _paper(wanted: Wanted) -> dict[str, Any]:
    """Other points of the headline, other numbers in the figure."""
    if wanted.nets.guide is None:
        return {"headline": ["none"], "figures": {"weights": None}}
    changed: dict[str, Any] = {}
    if wanted.weights and 2.0 not in wanted.weights:
        first = format_weight(wanted.weights[0])
        changed["headline"] = ["none", f"guided/{first}", f"interval/{first}"]
    if wanted.features:
        name = wanted.features[0]
        changed["figures"] = {"weights": {"metrics": [f"fid@{name}", f"recall@{name}"]}}
    return changed


def _evaluate(wanted: Wanted) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if wanted.images:
        starts = {
            name: int(seeds.partition("-")[0]) for name, seeds in bases()[BASE]["evaluate"]["blocks"].items()
        }
        changed["blocks"] = {name: f"{first}-{first + wanted.images - 1}" for name, first in starts.items()}
    if wanted.class_ is not None:
        changed["label_policy"] = wanted.class_
    if wanted.features:
        name = wanted.features[0]
        changed["select_metric"] = [f"fid@{name}"]
        changed["metrics"] = [f"{metric}@{name}" for metric in ("fid", "kid", "precision", "recall")]
    return changed


def text_of(name: str, found: dict[str, Any]) -> str:
    """The parameters file: a line a key, inner mappings on one line.

    Raises:
        UserError: the message that `guidelab check` would give.
    """
    raw = {"default": [name], "experiments": {name: found}}
    spec_of(raw, f"{name}.yaml")
    lines = [f"default: [{name}]", "", "experiments:", f"  {name}:"]
    for key, value in found.items():
        if key in ("denoisers", "variants") and isinstance(value, dict):
            lines += [f"    {key}:", *(f"      {inner}: {_flow(item)}" for inner, item in value.items())]
        else:
            lines.append(f"    {key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").strip()


def write(path: Path, text: str) -> str:
    """Write the file; returns its length as text, such as "40 lines".

    Raises:
        UserError: it is there already, or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path}: is there already; give another name, or --output")
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return counted(sum(bool(line.strip()) for line in text.splitlines()), "line")
