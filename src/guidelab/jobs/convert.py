"""`guidelab convert`, the job of rule `obtain`: convert a pretrained file to safetensors and verify its architecture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from guidelab.autoencoder import save_autoencoder
from guidelab.checkpoints.released import read_released
from guidelab.checkpoints.store import checked, pin
from guidelab.checkpoints.structure import differences
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.released import folder_of, how_to_get, row_of

_MEND = "Put the right file there, name another row of workflow/resources/checkpoints.csv, or change the entry in params.yaml"


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Read the file a job names, check it, and write it as `assemble.load_net` and its like read it.

    Args:
        job: `checkpoint` (a row), `extractor` (the row of the classifier below a discriminator's head, or null),
            `folder` (null: where the user keeps published files), `as` (model, classifier, discriminator, autoencoder
            or statistics), `expect` (the architecture that params.yaml requires), `seeds` (training seeds it stands for), `code`.
        outputs: one safetensors file.
    Raises:
        UserError: the file is absent, changed, broken or hostile, or of another architecture, resolution, number of
            channels or classes than expected; nothing is written then.
    """
    row, made, expect, folder = job["checkpoint"], job["as"], job.get("expect") or {}, job.get("folder")
    path, digest = checked(row, folder)
    released = {**row, "sha256": digest}
    hints: dict[str, Any] = {}
    if job.get("extractor"):
        hints["extractor"], released["extractor_sha256"] = checked(job["extractor"], folder)
    config, tensors = _read(path, row, hints, expect, folder)
    if made == "autoencoder":
        _need(path, row, "vae")
        check_autoencoder(path, config, expect)
    elif made == "statistics":
        _need(path, row, "reference_npz", "reference_pkl")
        check_statistics(path, tensors, expect)
    else:
        check_net(path, made, config, expect)
    pin(row, folder, digest)  # what was refused is not: a better copy may take its place
    if job.get("extractor"):
        pin(job["extractor"], folder, released["extractor_sha256"])
    about = {"released": released, "code": job.get("code")}
    if made == "autoencoder":
        save_autoencoder(outputs[0], config, tensors, about)
    elif made == "statistics":
        save_arrays(outputs[0], tensors, {**about, "kind": "statistics", **config})
    else:
        write_net(outputs[0], config, tensors, job["seeds"], about)


def _read(
    path: Path, row: dict[str, Any], hints: dict[str, Any], expect: Mapping[str, Any], folder: str | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors; a refusal also says what was wanted there, and from where."""
    try:
        return read_released(path, row["format"], hints)
    except UserError as error:
        place = (
            f"{expect['entry']} of params.yaml takes it for" if expect.get("entry") else "It was taken for"
        )
        get = how_to_get(row_of(row, "--job: checkpoint"), folder_of(folder))
        raise UserError(
            f"{str(error).rstrip('.')}. {place} {row['name']}, read as {row['format']}: {get}"
        ) from error


def write_net(
    output: Path,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    seeds: list[int],
    about: dict[str, Any],
) -> None:
    """A net in the form `assemble.load_net` reads: the same weights for every training seed it is used for."""
    found = {f"seed{seed}/{name}": tensor for seed in seeds for name, tensor in tensors.items()}
    save_arrays(output, found, {"kind": "model", "net": config, "seeds": list(seeds), **about})


def check_net(path: Path, made: str, config: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """Compare a file's content with what the experiment expects.

    Args:
        path: the file.
        made: model, classifier or discriminator.
        config: of the net in it.
        expect: `name`, `resolution_px`, `image_channels`, `classes` (of a discriminator: those of its training
            data), `told` (whether a discriminator is conditional), `net` (keys of its architecture as params.yaml
            writes them), `entry` and `net_entry` (where in params.yaml); what is absent is not compared.
    Raises:
        UserError: names the first difference, the file, the entry and the mend.
    """
    mend = _mend(expect.get("entry"))
    for key, what in (
        ("name", "a net of the kind"),
        ("image_channels", "channels"),
        ("resolution_px", "px"),
    ):
        if expect.get(key) is not None and config.get(key) != expect[key]:
            raise UserError(
                f"{path}: holds {_said(what, config.get(key))}, wanted {_said(what, expect[key])}. {mend}"
            )
    held, wanted, conditional = config.get("classes"), expect.get("classes"), expect.get("told")
    if conditional is not None and bool(held) != conditional:
        has = f"is conditional on {held} classes" if held else "is unconditional"
        raise UserError(
            f"{path}: the discriminator in it {has}, wanted {'a conditional one' if conditional else 'an unconditional one'}. {mend}"
        )
    enough = held == wanted or (made == "discriminator" and (not held or held >= (wanted or 0)))
    if wanted is not None and not enough:
        raise UserError(
            f"{path}: is of {held} classes, wanted {wanted}; it was trained on other data. {mend}"
        )
    others = differences(config, expect.get("net") or {})
    if others:
        said = "; ".join(f"{key} {found}, wanted {value}" for key, found, value in others)
        raise UserError(
            f"{path}: is a net {config['name']} of another architecture: {said}. {_mend(expect.get('net_entry'))}"
        )


def check_statistics(path: Path, tensors: Mapping[str, Tensor], expect: Mapping[str, Any]) -> None:
    """Refuse statistics of other features than samples are measured in.

    Args:
        path: the file.
        tensors: `mean` [F] and, where the file has them, `mean_spatial` [G] and `mean_<features>` of a second family.
        expect: `features`: by name in params.yaml the extractor, its `width` F and, where sfid asks for it, `spatial` G.
    Raises:
        UserError: names the first difference, the file, the entry and the mend.
    """
    for name, wanted in (expect.get("features") or {}).items():
        own = f"mean_{name}" if f"mean_{name}" in tensors else "mean"  # EDM2's files hold two families
        for held, key in ((own, "width"), ("mean_spatial", "spatial")):
            if wanted.get(key) is None:
                continue
            count = len(tensors[held]) if held in tensors else 0
            if count != wanted[key]:
                what = "spatial features" if key == "spatial" else "features"
                raise UserError(
                    f"{path}: holds statistics of {count or 'no'} {what}, wanted {wanted[key]}: those of the extractor "
                    f"{wanted['extractor']} (features.{name}). {_mend(expect.get('entry'))}"
                )


def check_autoencoder(path: Path, config: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """Refuse an autoencoder of other latents than nets work on.

    Args:
        path: its folder.
        config: as diffusers writes it.
        expect: `latent_channels`, and `factor`: an image's side relative to its latent's; what is absent is not compared.
    Raises:
        UserError: names the first difference, the folder, the entry and the mend.
    """
    factor = 2 ** (len(config.get("block_out_channels") or [0]) - 1)
    for what, held in (("latent_channels", config.get("latent_channels")), ("factor", factor)):
        if expect.get(what) is not None and held != expect[what]:
            said = "channels of latents" if what == "latent_channels" else "pixels to a side of a latent"
            raise UserError(
                f"{path}: is an autoencoder of {held} {said}, wanted {expect[what]:g}. {_mend(expect.get('entry'))}"
            )


def _mend(entry: str | None) -> str:
    return f"{_MEND}{f' ({entry})' if entry else ''}."


def _said(what: str, value: Any) -> str:
    return f"{what} {value!r}" if isinstance(value, str) else f"{value} {what}"


def _need(path: Path, row: Mapping[str, Any], *formats: str) -> None:
    if row["format"] not in formats:
        raise UserError(
            f"{path}: is a file of format {row['format']}, wanted {' or '.join(formats)}. {_mend(None)}"
        )
