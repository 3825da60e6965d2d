"""`guidelab obtain`: bring a published file into our form, after checking that it is what the experiment takes it for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from guidelab.autoencoder import save_autoencoder
from guidelab.checkpoints.released import read_released
from guidelab.checkpoints.store import checked
from guidelab.errors import UserError
from guidelab.io import save_arrays

_MEND = "Name another row of workflow/resources/checkpoints.csv, or change the entry in params.yaml."


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Read the file a job names, check it, and write it as `assemble.load_net` and its like read it.

    Args:
        job: `checkpoint` (a row), `extractor` (the row of the classifier below a discriminator's head, or null),
            `folder` (null: where the user keeps published files), `as` (model, classifier, discriminator, autoencoder
            or statistics), `expect` (what params.yaml takes it for), `seeds` (training seeds it stands for), `code`.
        outputs: one safetensors file.
    Raises:
        UserError: the file is absent, changed, broken or hostile, or of another architecture, resolution, number of
            channels or classes than expected; nothing is written then.
    """
    row, made, expect = job["checkpoint"], job["as"], job.get("expect") or {}
    path, digest = checked(row, job.get("folder"))
    released = {**row, "sha256": digest}
    hints: dict[str, Any] = {}
    if job.get("extractor"):
        hints["extractor"], released["extractor_sha256"] = checked(job["extractor"], job.get("folder"))
    config, tensors = read_released(path, row["format"], hints)
    about = {"released": released, "code": job.get("code")}
    if made == "autoencoder":
        _need(path, row, "vae")
        save_autoencoder(outputs[0], config, tensors, about)
    elif made == "statistics":
        _need(path, row, "reference_npz", "reference_pkl")
        save_arrays(outputs[0], tensors, {**about, "kind": "statistics", **config})
    else:
        check_net(path, made, config, expect)
        write_net(outputs[0], config, tensors, job["seeds"], about)


def write_net(
    output: Path,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    seeds: list[int],
    about: dict[str, Any],
) -> None:
    """A net in the form `assemble.load_net` reads: the same weights for every training seed it stands for."""
    found = {f"seed{seed}/{name}": tensor for seed in seeds for name, tensor in tensors.items()}
    save_arrays(output, found, {"kind": "model", "net": config, "seeds": list(seeds), **about})


def check_net(path: Path, made: str, config: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """Compare what a file holds with what the experiment takes it for.

    Args:
        path: the file.
        made: model, classifier or discriminator.
        config: of the net in it.
        expect: `name`, `resolution_px`, `image_channels`, `classes` (of a discriminator: those of the data it is told
            about), `told` (whether a discriminator is told a class); what is absent is not compared.
    Raises:
        UserError: names the first difference, the file and the mend.
    """
    for key, what in (
        ("name", "a net of the kind"),
        ("image_channels", "channels"),
        ("resolution_px", "px"),
    ):
        if expect.get(key) is not None and config.get(key) != expect[key]:
            raise UserError(
                f"{path}: holds {_said(what, config.get(key))}, wanted {_said(what, expect[key])}. {_MEND}"
            )
    held, wanted, told = config.get("classes"), expect.get("classes"), expect.get("told")
    if told is not None and bool(held) != told:
        has = f"is told one of {held} classes" if held else "is told no class"
        raise UserError(
            f"{path}: the discriminator in it {has}, wanted {'one that is' if told else 'one that is not'}. {_MEND}"
        )
    enough = held == wanted or (made == "discriminator" and (not held or held >= (wanted or 0)))
    if wanted is not None and not enough:
        raise UserError(
            f"{path}: is of {held} classes, wanted {wanted}; it was trained on other data. {_MEND}"
        )


def _said(what: str, value: Any) -> str:
    return f"{what} {value!r}" if isinstance(value, str) else f"{value} {what}"


def _need(path: Path, row: Mapping[str, Any], *formats: str) -> None:
    if row["format"] not in formats:
        raise UserError(
            f"{path}: is a file of format {row['format']}, wanted {' or '.join(formats)}. {_MEND}"
        )
