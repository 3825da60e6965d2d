"""Files of a replay beside those recorded and those of the other code: by bytes, or within a tolerance across devices."""

import csv
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guidelab.provenance.disk import sha256

# Both codes are given the digest that ran, so nothing in a file may differ: no times, no host, no digest.
MAY_DIFFER: tuple[str, ...] = ()
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


def begins(path: Path, recorded: Path) -> str:
    """Whether a file of a shortened replay holds the first rows, or some of the tensors, of a recorded one.

    Rows of a CSV are compared where both have the same first three columns (training seed, iteration, images).
    """
    if path.suffix == ".csv":
        known = {tuple(row[:3]): row for row in _rows(recorded)[:-1]}
        pairs = [(row, known[tuple(row[:3])]) for row in _rows(path)[:-1] if tuple(row[:3]) in known]
        return next((f"row {row[:3]}" for row, wanted in pairs if row != wanted), "")
    mine, theirs = tensors(path)[0], tensors(recorded)[0]
    for name, (dtype, shape, content) in mine.items():
        if name not in theirs:
            return f"tensor {name}, which the recorded file lacks"
        kind, full, whole = theirs[name]
        if (kind, full[1:]) != (dtype, shape[1:]) or not whole.startswith(content):
            return f"tensor {name}"
    return "" if mine else "no tensors"


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
