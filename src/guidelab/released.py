"""Read the list of pretrained files, workflow/resources/checkpoints.csv.

Read when the workflow is planned, so with the standard library alone.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guidelab.errors import UserError, brief, closest

CSV = "workflow/resources/checkpoints.csv"
FOLDER_VARIABLE = "GUIDELAB_CHECKPOINTS"
KINDS = ("net", "classifier", "discriminator", "extractor_classifier", "autoencoder", "reference", "features")
FORMATS = (
    "edm_pickle", "edm2_pickle", "adm_pt", "adm_classifier_pt", "dit_pt", "dg_pt", "vae", "reference_npz",
    "reference_pkl", "inception_pt", "dinov2_pth", "guidelab",
)  # fmt: skip
FILE = "file:"  # before the path of a user's own file, where other entries name a row
_OF_NETS = {"edm2": "edm2_pickle", "edm": "edm_pickle", "adm": "adm_pt", "dit": "dit_pt"}
_NUMBERS = ("bytes", "about_mb", "resolution_px", "image_channels", "classes")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Row:
    """One published file.

    Attributes:
        name: what params.yaml calls it.
        kind, format: what it is, and how it is read.
        file: where it lies in the folder of checkpoints; a folder for some autoencoders.
        url: where it is published: the file, or the folder or page it is found in.
        bytes, sha256: of the file where its publisher states them; None and empty otherwise.
        about_mb: our estimate for planning, never compared with a file: its net's parameters at 4 bytes (EDM2's
            snapshots: 2), its statistics' arrays, its images; None where it is unknown.
        licence: of the file.
        dataset: what it was trained on or computed from.
        resolution_px, image_channels, classes: of what a net sees (the latents' side for latent nets); 0 classes for
            an unconditional net; None where it does not apply.
        note: what else must be known, such as an address that could not be verified.
    """

    name: str
    kind: str
    format: str
    file: str
    url: str
    bytes: int | None
    about_mb: int | None
    sha256: str
    licence: str
    dataset: str
    resolution_px: int | None
    image_channels: int | None
    classes: int | None
    note: str

    def as_job(self) -> dict[str, str | int | None]:
        """The row as part of a job's JSON."""
        return asdict(self)


def load_rows(path: str | Path = CSV) -> dict[str, Row]:
    """All rows by name.

    Raises:
        UserError: no such file, other columns, or a row that cannot be; says which line.
    """
    source = Path(path)
    if path == CSV and not source.exists() and (packaged := Path(__file__).parents[2] / CSV).exists():
        source = packaged  # called from another folder: the list of the tree this code lies in
    try:
        with source.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            wanted = list(Row.__annotations__)
            if reader.fieldnames != wanted:
                raise UserError(
                    f"{source}: has columns {str(reader.fieldnames)[:200]}, wanted {', '.join(wanted)}"
                )
            rows = [row_of(fields, f"{source}: line {reader.line_num}") for fields in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{source}: cannot be read ({brief(error)}); wanted the list of published files"
        ) from error
    found: dict[str, Row] = {}
    for row in rows:
        if row.name in found:
            raise UserError(f"{source}: {row.name} stands there twice")
        found[row.name] = row
    return found


def row_of(fields: Mapping[str, str | int | None], where: str) -> Row:
    """One row from its fields, as text (of the CSV) or as a job has them.

    Raises:
        UserError: a field is absent, or is none of the values it may have.
    """
    if set(fields) != set(Row.__annotations__):
        raise UserError(
            f"{where}: has fields {sorted(map(str, fields))}, wanted {', '.join(Row.__annotations__)}"
        )
    given = {key: "" if value is None else str(value) for key, value in fields.items()}
    for key, known in (("kind", KINDS), ("format", FORMATS)):
        if given[key] not in known:
            raise UserError(f"{where}: {key} {given[key]!r} is not known{closest(given[key], known)}")
    parts = Path(given["file"]).parts
    if not _NAME.fullmatch(given["name"]) or not parts or ".." in parts or Path(given["file"]).is_absolute():
        raise UserError(
            f"{where}: name {given['name']!r}, file {given['file']!r}; wanted a name and a path inside the folder"
        )
    if given["sha256"] and not _SHA256.fullmatch(given["sha256"]):
        raise UserError(f"{where}: sha256 {given['sha256']!r}, wanted 64 hexadecimal digits or nothing")
    try:
        numbers = {key: int(given[key]) if given[key] else None for key in _NUMBERS}
    except ValueError as error:
        raise UserError(f"{where}: {', '.join(_NUMBERS)} are whole numbers or empty ({error})") from error
    texts = {key: value for key, value in given.items() if key not in _NUMBERS}
    return Row(**texts, **numbers)  # type: ignore[arg-type]


def row(name: str, rows: Mapping[str, Row], where: str = "params.yaml") -> Row:
    """The row of a name.

    Raises:
        UserError: no such row; says which is closest.
    """
    if name not in rows:
        raise UserError(
            f"{where}: checkpoint {name!r} is not in {CSV}{closest(name, list(rows))}. "
            "Add a row for a file of your own, or see `guidelab released`."
        )
    return rows[name]


def row_of_file(file: str, net: str) -> Row:
    """What a row would say of a net in a user's own file."""
    path = Path(file)
    empty: dict[str, Any] = dict.fromkeys(_NUMBERS) | dict.fromkeys(
        ("url", "sha256", "licence", "dataset"), ""
    )
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name).lstrip("._-") or "net"
    format = "guidelab" if path.suffix == ".safetensors" else _OF_NETS[net]
    return Row(
        name=f"own-{name}", kind="net", format=format, file=path.name, note="a file of your own", **empty
    )


def extractor_of(head: Row, rows: Iterable[Row]) -> Row | None:
    """The frozen classifier whose features a pretrained discriminator uses: of the same data, resolution and channels."""
    if head.kind != "discriminator":
        return None
    same = (head.dataset, head.resolution_px, head.image_channels)
    found = (r for r in rows if r.kind == "extractor_classifier")
    return next((r for r in found if (r.dataset, r.resolution_px, r.image_channels) == same), None)


def folder_of(given: str | None = None) -> Path:
    """Where published files lie: as given, else `GUIDELAB_CHECKPOINTS`, else `checkpoints/`."""
    return Path(given or os.environ.get(FOLDER_VARIABLE) or "checkpoints")


def size_of(row: Row) -> str:
    """`223 MB`, `about 223 MB` where its publisher does not state it, or nothing."""
    if row.bytes:
        return f"{row.bytes / 1e6:,.0f} MB"
    return f"about {row.about_mb:,} MB" if row.about_mb else ""


def how_to_get(wanted: Row, folder: Path) -> str:
    """Which file to fetch from where, and where to put it; one line."""
    target = (folder / wanted.file).absolute()
    size = f" ({size_of(wanted)})" if size_of(wanted) else ""
    note = f" ({wanted.note})" if wanted.note else ""
    return (
        f"fetch {Path(wanted.file).name}{size} from {wanted.url or 'its publisher'}{note} "
        f"and put it there as {target}; nothing is downloaded by itself"
    )
