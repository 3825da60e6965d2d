"""Labels of a dataset's files: from its dataset.json, or else from the names of its top-level folders."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidelab.data.notice import notice, some
from guidelab.data.strict_json import read_json
from guidelab.errors import UserError, brief

MAX_CLASSES = 1 << 20  # a larger index is a mistake: networks have one weight vector a class
# folders of the format itself, a thousand files each, say nothing of classes
_NUMBERED = re.compile(r"(\d{5})/img(?:-[a-z-]+-)?\1\d{3}\.[a-z]+")
_WANTED = '{"labels": [["file name", class index], ...]} or {"labels": null}'


def labels_of(names: Sequence[str], listing: bytes | None, where: str) -> Tensor | None:
    """Class indices of files.

    Args:
        names: the files, with `/` between folders, in the order wanted.
        listing: content of dataset.json, or None where there is none.
        where: the dataset, for errors.
    Returns:
        `[N]` int64: as listed; else, for files in two or more top-level folders, the folder's place in their
        alphabetical order; None where neither says anything.
    Raises:
        UserError: dataset.json is malformed, lists files that are not there or leaves some out, holds labels that
            are no class indices; or some images lie in class folders and others do not.
    Source: the EDM2 dataset format; one-hot rows are accepted where it allows rows of numbers.
    """
    listed = None if listing is None else _listed(listing, where)
    if listed is None:
        return _by_folder(names, where)
    missing = sorted(set(names) - listed.keys())
    absent = sorted(listed.keys() - set(names))
    if missing:
        raise UserError(
            f"{where}: dataset.json has no label for {some(missing)}. Add them, or write null for all labels."
        )
    if absent:
        raise UserError(
            f"{where}: dataset.json labels {some(absent)}, which the dataset does not hold; it may be cut short. "
            "Restore these images, or remove their lines."
        )
    return torch.tensor([listed[name] for name in names], dtype=torch.int64)


def _listed(listing: bytes, where: str) -> dict[str, int] | None:
    try:
        content = read_json(listing)
    except ValueError as error:
        raise UserError(f"{where}: dataset.json is not JSON ({brief(error)}); wanted {_WANTED}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: dataset.json holds a {type(content).__name__}, wanted {_WANTED}")
    pairs = content.get("labels")
    if pairs is None:
        return None
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        bad = pairs if not isinstance(pairs, list) else next(pair for pair in pairs if not _is_pair(pair))
        raise UserError(f"{where}: dataset.json holds {_short(bad)} among its labels, wanted {_WANTED}")
    listed: dict[str, int] = {}
    width = len(pairs[0][1]) if pairs and isinstance(pairs[0][1], list) else None
    for name, value in pairs:
        known = name.replace("\\", "/")
        if known in listed:
            raise UserError(f"{where}: dataset.json labels {known} twice; keep one of the lines")
        listed[known] = _class(value, width, f"{where}: dataset.json gives {known} the label {_short(value)}")
    return listed or None


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)


def _class(value: Any, width: int | None, where: str) -> int:
    """A class index: a whole number, or the place of the one in a one-hot row."""
    if isinstance(value, list):
        if len(value) != width or not all(_is_number(v) for v in value) or sorted(value)[-1:] != [1]:
            raise UserError(f"{where}, wanted a class index, or one-hot rows of one length")
        if sum(v != 0 for v in value) != 1:
            raise UserError(f"{where}, wanted a class index: rows that mix classes cannot be used")
        return value.index(1)
    if width is not None or not _is_number(value) or value != int(value):
        raise UserError(f"{where}, wanted a whole number for every image, from 0")
    if not 0 <= value < MAX_CLASSES:
        raise UserError(f"{where}, wanted 0 to {MAX_CLASSES - 1}")
    return int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 53


def _by_folder(names: Sequence[str], where: str) -> Tensor | None:
    tops = [name.split("/")[0] if "/" in name else "" for name in names]
    folders = sorted(set(tops))
    if all(_NUMBERED.fullmatch(name) for name in names):
        return None
    if len(folders) < 2:
        above = os.path.commonpath([name.rpartition("/")[0] or "." for name in names])
        inner = sorted({name.removeprefix(f"{above}/").split("/")[0] for name in names})
        if "/" in names[0] and len(inner) > 1 and not any(f"{above}/{folder}" in names for folder in inner):
            notice(
                f"{where}: every image lies in the one folder {above}, so none has a label. If {some(inner)} are classes, "
                f"give {where}/{above} as the source, or a dataset.json."
            )
        return None
    if "" in folders:
        loose = [name for name, top in zip(names, tops, strict=True) if not top]
        raise UserError(
            f"{where}: {some(loose)} are next to the folders {some(folders[1:])}, so which class they have is not "
            "known. Move every image into the folder of its class, or give a dataset.json."
        )
    place = {folder: index for index, folder in enumerate(folders)}
    notice(
        f"{where}: {len(folders)} classes, by folder: {some([f'{i} {name}' for name, i in place.items()])}"
    )
    return torch.tensor([place[top] for top in tops], dtype=torch.int64)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
