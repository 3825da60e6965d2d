"""Read numbers from environment variables; invalid ones are refused with the variable's name."""

import math
import os
from collections.abc import Mapping

from guidelab.errors import UserError


def whole(name: str, default: int, least: int = 1, environ: Mapping[str, str] = os.environ) -> int:
    """A whole number; `default` where the variable is not set or empty.

    Raises:
        UserError: it is no whole number, or below `least`; names the variable, its value and what was wanted.
    """
    given = environ.get(name, "").strip()
    if not given:
        return default
    try:
        found = int(given)
    except ValueError:
        found = None
    if found is None or found < least:
        raise UserError(f"{name}={given}: wanted a whole number from {least} on; unset it for {default}")
    return found


def seconds(name: str, default: float, environ: Mapping[str, str] = os.environ) -> float:
    """Seconds above 0; `default` where the variable is not set or empty.

    Raises:
        UserError: it is no such number; names the variable, its value and what was wanted.
    """
    given = environ.get(name, "").strip()
    if not given:
        return default
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise UserError(f"{name}={given}: wanted seconds, a number above 0; unset it for {default:g}")
    return found
