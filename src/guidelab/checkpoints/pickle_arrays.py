"""Rebuild numpy numbers and arrays of a pickle from their bytes, by functions of this package that check sizes and types."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.data import limits

_DTYPES = ("f2", "f4", "f8", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "i1", "b1")


def shown(value: Any) -> str:
    """A value for a message: numbers, short text and short tuples of these; of anything else its type alone."""
    small = isinstance(value, int | float | str | None) and len(str(value)) <= 60
    if small or (
        isinstance(value, tuple) and len(value) <= limits.RANK and all(type(n) is int for n in value)
    ):
        return repr(value)
    return type(value).__name__


class Sealed:
    """Holds a value that no instruction of the file can reach into."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("changes a tensor after it was made")


class SealedArray(Sealed):
    """A numpy array between its construction and its state, as pickle splits them; then as `.value`."""

    def __init__(self, *_: Any) -> None:
        super().__init__(None)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("holds an array with an unusual state")
        _, shape, dtype, fortran, data = state
        self.value = from_buffer(data, dtype, shape, "F" if fortran else "C").value


class NumberType:
    """A number type between its construction and its state (its byte order)."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        if not isinstance(code, str) or code.lstrip("<>=|") not in _DTYPES:
            raise RefusedError(f"holds an array of type {shown(code)}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise RefusedError(f"holds a type of byte order {shown(order)}")
        self.dtype = self.dtype.newbyteorder(order)


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> SealedArray:
    """An array of `shape` from its bytes, which must be exactly as many.

    Raises:
        RefusedError: they are not, or the type is no number.
    """
    if not isinstance(dtype, NumberType) or order not in ("C", "F"):
        raise RefusedError("holds an array of a type that is no number")
    if (
        not isinstance(shape, tuple)
        or len(shape) > limits.RANK
        or not all(type(n) is int and 0 <= n <= limits.ELEMENTS for n in shape)
    ):
        raise RefusedError(f"holds an array of shape {shown(shape)}")
    content = bytes(data) if isinstance(data, bytes | bytearray) else b""
    wanted = int(np.prod(shape, dtype=object)) * dtype.dtype.itemsize
    if len(content) != wanted:
        raise RefusedError(f"holds an array of {len(content)} bytes, wanted {wanted}")
    array: NDArray[Any] = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)
    sealed = SealedArray()
    sealed.value = array
    return sealed


def scalar(dtype: Any, data: Any) -> Any:
    """One number."""
    return from_buffer(data, dtype, ()).value.item()


def latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes that protocols below 3 carry as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("encodes something that is no array")
    return text.encode("latin1")
