"""Compare a replay's files with the recorded ones and with the other code's: by bytes, or within a tolerance across devices."""

import csv
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guidelab.accept.parts import FIRST_EVALUATION, FIRST_SNAPSHOT
from guidelab.provenance.disk import sha256

# Both codes are given the digest that ran, so nothing in a file may differ: no times, no host, no digest.
MAY_DIFFER: tuple[str, ...] = ()
_REPEATED = ("coverage", "above truth")  # kinds of rows that count repeats
Content = dict[str, tuple[str, list[int], bytes]]  # tensor: dtype, shape, bytes


def tensors(path: Path) -> tuple[Content, Any]:
    """The tensors of a safetensors file as bytes, and its description.

    Raises:
        ValueError, OSError: it is none.
    """
    data = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        about = header.pop("__metadata__", {})
        found = {n: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for n, t in header.items()}
    except (struct.error, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: is no safetensors file ({error})") from error
    return found, about


def same(path: Path, other: Path, renamed: bool = False) -> str:
    """Whether two files hold the same bytes; empty if so, else where they differ first.

    Args:
        path, other: the files.
        renamed: keys of payloads were renamed by a declared table, so the description inside a file may differ.
    """
    if not path.is_file() or not other.is_file():
        return "not written" if path.is_file() != other.is_file() else ""
    if sha256(path) == sha256(other):
        return ""
    try:
        return next(_apart(path, other, renamed), "")
    except (ValueError, OSError, UnicodeDecodeError):
        return "its bytes"


def _apart(path: Path, other: Path, renamed: bool) -> Iterator[str]:
    if path.suffix == ".safetensors":
        (mine, about), (theirs, wanted) = tensors(path), tensors(other)
        yield from (f"tensor {n}" for n in sorted({*mine, *theirs}) if mine.get(n) != theirs.get(n))
        if about != wanted and not renamed:
            yield "its description"
    elif path.suffix == ".csv":
        mine_rows, their_rows = _rows(path), _rows(other)
        for number, (row, wanted_row) in enumerate(zip(mine_rows, their_rows, strict=False), 1):
            if row != wanted_row:
                yield f"row {number}: {[(a, b) for a, b in zip(row, wanted_row, strict=False) if a != b][:2]}"
        yield "the number of rows" if len(mine_rows) != len(their_rows) else "its bytes"
    else:
        yield "its bytes"


def begins(path: Path, recorded: Path, kind: str) -> str:
    """Whether a file of a shortened replay holds part of a recorded one; empty if so, else where they differ first.

    What only the whole job gives is left out: the last line of a loss curve, the chosen weights of a training that stops
    early, counts over repeats.

    Args:
        path, recorded: the files.
        kind: how the job was shortened, see `parts`.
    """
    if path.suffix == ".csv":
        return _rows_begin(_rows(path), _rows(recorded), kind)
    (mine, about), (theirs, wanted) = tensors(path), tensors(recorded)
    if kind == FIRST_EVALUATION:
        mine = {name: content for name, content in mine.items() if name.startswith("it")}
        course, known = _history(about), _history(wanted)
        if any(rows != known.get(seed, [])[: len(rows)] for seed, rows in course.items()):
            return "the course of the training"
    elif not mine:
        return "no tensors"
    for name, (dtype, shape, content) in mine.items():
        if name not in theirs:
            return f"tensor {name}, which the recorded file lacks"
        form, full, whole = theirs[name]
        if (form, full[1:]) != (dtype, shape[1:]) or not whole.startswith(content):
            return f"tensor {name}"
    return ""


def _rows_begin(mine: list[list[str]], theirs: list[list[str]], kind: str) -> str:
    if kind == FIRST_SNAPSHOT:  # the same place of a curve: training seed, iteration, images
        known = {tuple(row[:3]): row for row in theirs[:-1]}
        wanted = [(row, known.get(tuple(row[:3]), row)) for row in mine[:-1]]
        return next((f"row {row[:3]}" for row, other in wanted if row != other), "")
    place = mine[0].index("kind") if "kind" in mine[0] else None
    recorded = {tuple(row) for row in theirs}
    apart = [
        row for row in mine if tuple(row) not in recorded and (place is None or row[place] not in _REPEATED)
    ]
    return f"row {apart[0]}" if apart else ""


def has_course(path: Path) -> bool:
    """Whether a file holds states or losses of its training before the end."""
    found, about = tensors(path)
    return bool(_history(about)) or any(name.startswith("it") for name in found)


def _history(about: Any) -> dict[str, Any]:
    """The course of a training that stops early, by training seed, from a file's description."""
    found = [json.loads(text) for text in (about or {}).values()]
    return dict(found[0].get("history") or {}) if found and isinstance(found[0], dict) else {}


def close(path: Path, recorded: Path, rtol: float) -> str:
    """Whether a file agrees with a recorded one within a tolerance relative to the largest value of each tensor or column."""
    import numpy as np

    if path.suffix == ".csv":
        mine, theirs = _rows(path), _rows(recorded)
        if [len(row) for row in mine] != [len(row) for row in theirs]:
            return "its rows"
        columns: list[tuple[list[str], list[str]]] = [
            ([row[i] for row in mine], [row[i] for row in theirs])
            for i in range(len(theirs[0]) if theirs else 0)
        ]
        for a, b in columns:
            if a != b and not _close_texts(a, b, rtol):
                return f"column {b[0]}"
        return ""
    if path.suffix != ".safetensors":
        return same(path, recorded)
    from safetensors.numpy import load_file

    first, second = load_file(path), load_file(recorded)
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return "its tensors"
    for name, array in second.items():
        apart = np.abs(first[name].astype("float64") - array.astype("float64")).max(initial=0.0)
        if not apart <= rtol * np.abs(array.astype("float64")).max(initial=0.0):
            return f"tensor {name}, by {apart:.3g}"
    return ""


def _close_texts(mine: list[str], theirs: list[str], rtol: float) -> bool:
    """Numbers of two columns within a tolerance; everything else alike."""
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a != b]
    try:
        numbers = [(float(a), float(b)) for a, b in pairs]
        size = max(abs(float(b)) for b in theirs[1:] if b)
    except ValueError:
        return False
    return all(abs(a - b) <= rtol * size for a, b in numbers)


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def hashes(paths: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of the files that are there, by name."""
    return {name: sha256(path) for name, path in paths.items() if path.is_file()}
