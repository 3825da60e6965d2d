"""Compare rows of workflow/resources/checkpoints.csv with the entries that name them: kind, data, images, net, lengths."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guidelab.errors import UserError
from guidelab.project import resource
from guidelab.released import CSV, Row, load_rows
from guidelab.spec.mistakes import Mistake, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

_READ_AS = {  # format of a row -> the net in it, or the extractor it has the weights of
    "edm_pickle": "edm",
    "edm2_pickle": "edm2",
    "adm_pt": "adm",
    "dit_pt": "dit",
    "adm_classifier_pt": "adm_classifier",
    "dg_pt": "adm_discriminator",
    "inception_pt": "inception",
    "dinov2_pth": "dinov2",
}
# edm2-img512-s-2147483-0.130: the size, thousands of images seen, and the EMA length
_EDM2_FILE = re.compile(r"edm2-img\d+-(\w+?)(?:-uncond)?-(\d{7})-(\d\.\d{3})")


def rows() -> dict[str, Row]:
    """All rows by name; empty where the list cannot be read, which `unreadable` says."""
    return _read(*_state())[0]


def unreadable() -> str:
    """Why the list cannot be read; empty where it can."""
    return _read(*_state())[1]


def _state() -> tuple[str, int]:
    path = Path(resource(CSV)).absolute()
    return str(path), path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> tuple[dict[str, Row], str]:
    """The rows as they are now: read again only when the file has changed."""
    try:
        return load_rows(resource(CSV)), ""
    except UserError as error:
        return {}, str(error)


def row_of_kind(
    where: str, name: str | None, kinds: tuple[str, ...], extractor: str = ""
) -> Iterator[str | Mistake | None]:
    """A row that does not exist, or is something else; of an extractor, the weights of another one."""
    if name is None or unreadable():
        return
    known = rows()
    if name not in known:
        yield unknown(where, name, f"a row of {CSV}", known)
    elif known[name].kind not in kinds:
        yield f"{where}: given {name!r}, which is a {known[name].kind}, wanted a {' or '.join(kinds) or 'file'}"
    elif extractor and _READ_AS.get(known[name].format, extractor) != extractor:
        yield f"{where}: given {name!r}, the weights of {_READ_AS[known[name].format]}, wanted those of {extractor}"


def fits(
    e: "Experiment", where: str, name: str | None, net: str | None, seen: dict[str, Any]
) -> Iterator[str]:
    """What a row of checkpoints.csv says, against what it is named for; what the row leaves empty is not compared.

    A smoke copy is smaller than the experiment it copies, where sizes were compared: there only the data are.

    Args:
        net: the registered net it must hold; None for statistics.
        seen: resolution_px, image_channels, classes that the net works on; None where any will do.
    """
    row = rows().get(name or "")
    if row is None:
        return
    given, data = f"{where}: given {row.name!r}", e.dataset.name
    smoke, side = e.scale == "smoke", getattr(e.dataset, "resolution_px", "")
    known = (data, f"{data}{side}")
    if row.dataset and not (re.fullmatch(rf"{data}\d*", row.dataset) if smoke else row.dataset in known):
        yield f"{given}, which is of {row.dataset}, wanted one of {data if smoke or data[-1].isdigit() else known[1]} (`guidelab released`)"
    elif net and _READ_AS.get(row.format) not in (None, net):
        yield f"{given}, which is a net {_READ_AS[row.format]}, wanted a net {net}"
    for key, wanted in {} if smoke else seen.items():
        held = getattr(row, key)
        if held is not None and wanted is not None and held != wanted:
            yield f"{given}, of {key} {held} in checkpoints.csv, wanted {wanted}"


def lengths(
    e: "Experiment", where: str, name: str | None, nimg: int, ema_std: float, size: str | None
) -> Iterator[str]:
    """The EMA length, training length and size in the name of a released EDM2 file, against those of the entry."""
    row = rows().get(name or "")
    found = _EDM2_FILE.fullmatch(Path(row.file).stem) if row else None
    if row is None or found is None:
        return
    if float(found[3]) != ema_std:
        yield f"{where}.ema_std: given {ema_std:.3f}, but {row.name} has the EMA length {found[3]}; wanted both equal"
    if e.scale == "smoke":
        return  # its nets and trainings are shrunk
    if int(found[2]) != nimg // 1000:
        yield f"{where}.nimg: given {nimg}, but {row.name} has seen {int(found[2])} thousand images; wanted both equal"
    if size is not None and size.lower() != found[1]:
        yield f"{where}.checkpoint: given {row.name!r}, of size {found[1].upper()}, wanted size {size}"
