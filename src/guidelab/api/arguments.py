"""Checks of a caller's arguments: where, given, wanted."""

from operator import index
from typing import Any

import torch

from guidelab.compute.device import device
from guidelab.errors import UserError


def device_of(where: str, name: Any) -> torch.device:
    """The device of a name such as `cpu`, `cuda` (its first GPU) or `cuda:1`, as jobs choose theirs.

    Raises:
        UserError: no such device, or this machine has fewer GPUs.
    """
    try:
        return device({"GUIDELAB_DEVICE": str(name)})
    except UserError as error:
        raise UserError(f"{where}: device {name!r}: {error}") from error


def whole(where: str, given: Any, least: int, end: int | None = None, wanted: str = "a whole number") -> int:
    """A whole number of any integer type, from `least` and below `end`.

    Raises:
        UserError: anything else.
    """
    try:
        number = index(given)
    except TypeError:
        number = least - 1
    if number < least or (end is not None and number >= end):
        limits = f"from {least}" if end is None else f"from {least} to {end - 1}"
        raise UserError(f"{where} {given!r}, wanted {wanted} {limits}")
    return number
