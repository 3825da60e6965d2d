"""Headers of NPY files: parsed as literals and validated before any value is read; pickled objects are never read."""

import threading
from typing import Any

import numpy as np

from guidelab.data import limits
from guidelab.errors import brief

_PARSING = (
    threading.Lock()
)  # Python 3.11's parser of literals fails where several threads are in it (gh-106905)


def npy_header(file: Any) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """Shape, column-major order and type of an NPY file, by numpy's own parser of literals.

    Args:
        file: open for reading, binary; its position is after the header then.
    Raises:
        ValueError: not an NPY file of version 1 or 2, a header that is too long or malformed, or pickled objects.
    """
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in read:
            raise ValueError(f"format version {version} is not known")
        with _PARSING:
            shape, fortran, dtype = read[version](file, max_header_size=limits.NPY_HEADER_BYTES)
    except Exception as error:  # numpy's parser raises several kinds
        raise ValueError(f"is no NPY array ({brief(error)})") from error
    if dtype.hasobject:
        raise ValueError("holds pickled objects, which are never read")
    if any(type(side) is not int or side < 0 for side in shape):  # numpy takes True for a length
        raise ValueError(f"has shape {str(shape)[:80]}, wanted whole numbers from 0")
    return shape, fortran, dtype
