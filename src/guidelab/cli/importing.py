"""Convert one pretrained file to safetensors and a JSON description in the same folder."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from guidelab.errors import UserError, closest
from guidelab.project import resource
from guidelab.released import CSV, FORMATS, Row, extractor_of, load_rows

_KINDS = {
    "adm_classifier_pt": "classifier", "dg_pt": "discriminator", "vae": "autoencoder", "reference_npz": "reference",
    "reference_pkl": "reference", "inception_pt": "features", "dinov2_pth": "features",
}  # fmt: skip


def import_file(
    given: str,
    output: Path | None = None,
    *,
    format: str | None = None,
    extractor: str | None = None,
    folder: str | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Convert one pretrained file to safetensors and a JSON description in the same folder.

    Args:
        given: a name of checkpoints.csv, or a file (its row is found by its name; without one `format` is needed).
        output: the safetensors file; `<name>.safetensors` here when None.
        format: how to read a file that is not in the list.
        extractor: for the head of a discriminator: the classifier's file, where the list does not name it.
        folder: where published files lie.
    Returns:
        The file written, and the description: architecture, source address, sha256, licence, parameters.
    Raises:
        UserError: absent, changed, broken, hostile, or of an unknown format; or the output is the file itself.
    """
    from guidelab.checkpoints.released import read_released
    from guidelab.checkpoints.store import checked, pin

    rows = load_rows(resource(CSV))
    chosen, place = _chosen(given, rows, format, folder)
    path, digest = checked(chosen, place)
    target = output or Path(f"{chosen.name}.safetensors")
    if target.resolve() == path.resolve() or (path.is_dir() and path.resolve() in target.resolve().parents):
        raise UserError(f"{target}: is the file itself, or inside it; give --output another place")
    hints: dict[str, Any] = {}
    if chosen.format == "dg_pt":
        hints["extractor"] = extractor or _below(chosen, rows, folder)
    config, tensors = read_released(path, chosen.format, hints)
    count = sum(t.numel() for t in tensors.values())
    about = {"released": {**chosen.as_job(), "sha256": digest}, "parameters": count, "config": config}
    if chosen.name in rows:
        _compare(chosen, path, config, tensors)
    pin(chosen, place, digest)
    if chosen.format == "dg_pt" and extractor is None and (below := extractor_of(chosen, rows.values())):
        pin(below, folder)
    _write(target, chosen, config, tensors, about)
    return target, about


def _compare(row: Row, path: Path, config: dict[str, Any], tensors: Any) -> None:
    """Refuse a file that is not what its row of checkpoints.csv says."""
    from guidelab.checkpoints.structure import against_row

    advice = (
        f"It was saved under a wrong name, or is a file of your own: give it another name and --format {row.format}. "
        "Nothing was written or pinned."
    )
    if others := against_row(row, config):
        raise UserError(f"{path}: is not {row.name} of {CSV}: it holds {'; '.join(others)}. {advice}")
    try:
        _compare_parts(row, path, config, tensors)
    except UserError as error:
        reason = str(error).removesuffix(".")
        raise UserError(f"{path}: is not {row.name} of {CSV}: {reason}. {advice}") from error


def _compare_parts(row: Row, path: Path, config: dict[str, Any], tensors: Any) -> None:
    """Checks that need no row: published statistics, autoencoders and extractors are of one kind each."""
    from guidelab.autoencoder import check_weights
    from guidelab.features.dinov2 import Dinov2
    from guidelab.features.inception import Inception
    from guidelab.jobs.convert import check_autoencoder, check_statistics
    from guidelab.plan.build.expected import WIDTHS

    if row.kind == "reference":
        names = ["inception", "dinov2"] if row.format == "reference_pkl" else ["inception"]
        wanted = {name: {"extractor": name, "width": WIDTHS[name][0]} for name in names}
        if "mean_spatial" in tensors:
            wanted["inception"]["spatial"] = WIDTHS["inception"][1]
        check_statistics(path, tensors, {"features": wanted})
    elif row.format == "vae":
        check_autoencoder(path, config, {"latent_channels": 4, "factor": 8.0})
        check_weights(path, config, tensors)
    elif row.kind == "features":
        {"inception_pt": Inception, "dinov2_pth": Dinov2}[row.format](path)


def _chosen(
    given: str, rows: dict[str, Row], format: str | None, folder: str | None
) -> tuple[Row, str | None]:
    """The row of what was given, and the folder its file is looked for in."""
    if given in rows:
        return rows[given], folder
    path = Path(given)
    if not path.exists():
        raise UserError(
            f"{given}: is no file, and no name in {CSV}{closest(given, list(rows))}; see `guidelab released`"
        )
    same = [r for r in rows.values() if Path(r.file).name == path.name and format in (None, r.format)]
    near = [r for r in same if Path(r.file).parts[-2:] == path.absolute().parts[-2:]]
    found = near or same
    if len(found) == 1:
        return dataclasses.replace(found[0], file=path.name), str(path.absolute().parent)
    if len(found) > 1:
        raise UserError(f"{given}: may be {' or '.join(r.name for r in found)}; name the one you mean")
    if format not in FORMATS:
        raise UserError(f"{given}: is not in {CSV}; say how to read it: --format {', '.join(FORMATS)}")
    unknown: dict[str, Any] = dict.fromkeys(("url", "sha256", "licence", "dataset"), "")
    unknown |= dict.fromkeys(("bytes", "about_mb", "resolution_px", "image_channels", "classes"))
    own = Row(
        name=path.stem,
        kind=_KINDS.get(format, "net"),
        format=format,
        file=path.name,
        note="a file of your own",
        **unknown,
    )
    return own, str(path.absolute().parent)


def _below(head: Row, rows: dict[str, Row], folder: str | None) -> Path:
    from guidelab.checkpoints.store import locate

    below = extractor_of(head, rows.values())
    if below is None:
        raise UserError(
            f"{head.file}: is the head of a discriminator; give --extractor, the classifier whose features it reads"
        )
    return locate(below, folder)


def _write(target: Path, chosen: Row, config: dict[str, Any], tensors: Any, about: dict[str, Any]) -> None:
    from guidelab.autoencoder import save_autoencoder
    from guidelab.io import atomic_write, save_arrays
    from guidelab.jobs.convert import write_net

    meta = {"released": about["released"]}
    if chosen.format == "vae":
        save_autoencoder(target, config, tensors, meta)
    elif "name" in config:
        write_net(target, config, tensors, [0], meta)
    else:
        save_arrays(
            target, tensors, {**meta, "kind": "statistics" if "mean" in tensors else "features", **config}
        )
    with atomic_write(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
