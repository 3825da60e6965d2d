"""Build a sampling job, as `guidelab sample` runs it, from nets in files and command-line options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from guidelab import registry
from guidelab.digest import code_digest
from guidelab.errors import UserError
from guidelab.spec.denoisers import Degrade
from guidelab.spec.samplers import ChainSampler, Sampler, Sampling
from guidelab.spec.terms import Term
from guidelab.study.nets import Net, check_together

SHARD = 4  # batches of a file
_LEVELS = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "dtype": "float32"}
SAMPLERS: dict[str, dict[str, Any]] = {  # of each family of nets, as its authors sample it
    "edm2": {"name": "heun", "steps": 32, **_LEVELS},
    "edm": {"name": "heun", "steps": 18, **_LEVELS, "dtype": "float64"},
    "adm": {"name": "ddpm", "steps": 250, "clip": True},
    "dit": {"name": "ddpm", "steps": 250},
}
ENCODINGS = {"edm2": "edm2", "dit": "ldm"}  # of the latents each family works on


@dataclass(frozen=True)
class Nets:
    """What a sampler is made of: the main net, its guide, a discriminator, the autoencoder's folder."""

    main: Net
    guide: Net | None = None
    disc: Net | None = None
    autoencoder: str | None = None

    @property
    def by_label(self) -> dict[str, Net]:
        """Each net by its label among the inputs of a job."""
        found = {"model:main": self.main, "model:guide": self.guide, "disc:guide": self.disc}
        return {label: net for label, net in found.items() if net is not None}

    def check(self) -> None:
        """Refuse nets that do not go together, and latents without an autoencoder.

        Raises:
            UserError: says which.
        """
        check_together(self.main, [net for net in (self.guide, self.disc) if net])
        channels, _ = self.main.event
        if channels not in (1, 3) and self.autoencoder is None:
            raise UserError(
                f"{self.main.path}: works on {channels} channels, so on latents; give --autoencoder, the folder of the "
                "autoencoder it was trained with"
            )


def checked(make: type[BaseModel], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What params.yaml would make of some keys, checked as there.

    Raises:
        UserError: the first mistake, with the option's name.
    """
    try:
        return make.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or where
        said = first["msg"].removeprefix("Value error, ").lower()
        raise UserError(f"--{key.replace('_', '-')}: given {first['input']!r}: {said}") from error


def sampler_of(family: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler of a family of nets, with the given options instead of its defaults.

    Raises:
        UserError: an option that it does not have, or a value it cannot have.
    """
    options = SAMPLERS[family] | {key: value for key, value in given.items() if value is not None}
    make = ChainSampler if options["name"] in ("ddpm", "ddim") else Sampler
    found = checked(make, options, "sampler")
    if "sigma_min" in found and found["sigma_min"] >= found["sigma_max"]:
        raise UserError(f"--sigma-min: given {found['sigma_min']}, wanted less than {found['sigma_max']}")
    return found


def terms_of(
    nets: Nets, w: float, disc_w: float, interval: tuple[float, float | None]
) -> list[dict[str, Any]]:
    """The guidance terms of a job; the interval is that of the guide."""
    low, high = interval
    found = []
    if nets.guide:
        term = {"method": "reference", "ref": "guide", "weight": w, "sigma_lo": low, "sigma_hi": high}
        found.append(checked(Term, term, "w"))
    if nets.disc:
        term = {"method": "discriminator", "disc": "guide", "weight": disc_w, "stages": "first"}
        found.append(checked(Term, term, "disc-w"))
    return found


def sample_job(
    nets: Nets, terms: list[dict[str, Any]], sampler: Mapping[str, Any], sampling: Mapping[str, Any],
    *, name: str, class_: int | None, seed: int, blocks: Mapping[str, list[int]],
) -> dict[str, Any]:  # fmt: skip
    """A job of the rule `sample`, but for its inputs.

    Raises:
        UserError: a class that the net does not have.
    """
    main = nets.main
    if class_ is not None and not 0 <= class_ < main.classes:
        known = f"0 to {main.classes - 1}" if main.classes else "none: the net is unconditional"
        raise UserError(f"--class: given {class_}, wanted {known}")
    options = checked(Sampling, sampling, "sampling")
    models = [label.partition(":")[2] for label in nets.by_label if label.startswith("model:")]
    modules = {registry.NETS[net.config["name"]].module for net in nets.by_label.values()}
    modules |= {registry.METHODS[term["method"]].module for term in terms}
    modules |= {registry.SAMPLERS[sampler["name"]].module}
    codec = "latents" if nets.autoencoder else "pixels"
    channels, side = main.event
    latent = {
        "autoencoder": nets.autoencoder,
        "encoding": ENCODINGS.get(main.config["name"], "ldm"),
        "side_px": side,
        "channels": channels,
    }
    return {
        "variant": name,
        "sampler": dict(sampler),
        "main": "main",
        "terms": terms,
        "degrade": {model: Degrade().model_dump() for model in models},
        "train_seeds": [seed],
        "codec": codec,
        "unlabelled": [],
        **options,
        "discs": {"guide": {"role": "guide", "seed": None, "iterations": None}} if nets.disc else {},
        "labels": (("random" if class_ is None else class_) if main.classes else None),
        "shard": SHARD * options["batch"],
        "latent": latent if nets.autoencoder else None,
        "blocks": dict(blocks),
        "code": code_digest("sample", sorted(modules | {registry.CODECS[codec].module})),
    }
