"""Reference statistics published with EDM (.npz) and EDM2 (.pkl): mean and covariance, read without running anything.

The .pkl files are pickles. Only what builds numpy arrays and plain containers is resolved; any other name in the
file is refused before it is looked up, so nothing in it can run.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from guidelab.errors import UserError

MAX_BYTES = 1 << 28  # EDM2's files hold 2048^2 and 1024^2 float64, 42 MB
MAX_FEATURES = 1 << 13
MAX_SLOTS = 1 << 12  # objects a pickle may refer back to; EDM2's files have some twenty
FAMILIES = ("fid", "fd_dinov2")  # what the files call Inception and DINOv2 statistics
_DTYPES = ("f4", "f8", "<f4", "<f8", "i4", "i8", "<i4", "<i8", "u1", "|u1")


@dataclass(frozen=True)
class ReferenceStats:
    """Mean [F] and covariance [F, F] of real features, float64; how many images made them is not in the files."""

    mean: NDArray[np.float64]
    cov: NDArray[np.float64]


def read_reference_stats(path: str | Path) -> dict[str, ReferenceStats]:
    """Statistics by family, `fid` and, where the file has them, `fd_dinov2`.

    Raises:
        UserError: missing, too large, cut short, of another kind, or a pickle that names anything but numpy arrays;
            or statistics whose shapes do not fit or that are no covariance.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{source}: no such file; wanted reference statistics (.npz of EDM or .pkl of EDM2)")
    size = source.stat().st_size
    if size > MAX_BYTES:
        raise UserError(
            f"{source}: {size} bytes, wanted at most {MAX_BYTES}: reference statistics are smaller"
        )
    if source.suffix == ".npz":
        content: Any = {"fid": _read_npz(source)}
    elif source.suffix == ".pkl":
        content = _read_pickle(source)
    else:
        raise UserError(f"{source}: wanted .npz (EDM) or .pkl (EDM2)")
    if not isinstance(content, dict) or not set(FAMILIES) & set(content):
        raise UserError(f"{source}: holds no statistics; wanted the keys {' or '.join(FAMILIES)}")
    return {name: _checked(content[name], f"{source}: {name}") for name in FAMILIES if name in content}


def _read_npz(source: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(source) as file:
            declared = sum(entry.file_size for entry in file.infolist())
        if declared > MAX_BYTES:
            raise UserError(f"{source}: {declared} bytes when unpacked, wanted at most {MAX_BYTES}")
        with np.load(source, allow_pickle=False) as file:
            return {name: file[name] for name in ("mu", "sigma") if name in file}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{source}: is not a readable .npz of plain arrays ({error})") from error


def _read_pickle(source: Path) -> Any:
    try:
        content = source.read_bytes()
        _scan(content)
        return _ArraysOnly(io.BytesIO(content)).load()
    except _RefusedError as error:
        raise UserError(
            f"{source}: {error}; nothing in the file was run. Take it from its publisher again."
        ) from error
    except Exception as error:  # whatever a damaged pickle trips over: its bytes decide, not our code
        raise UserError(
            f"{source}: is not a readable pickle of arrays ({type(error).__name__}: {error})"
        ) from error


def _scan(content: bytes) -> None:
    """Refuse a numbered memory slot far beyond any real file: the unpickler would allocate all slots up to it."""
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" in opcode.name and isinstance(argument, int) and argument > MAX_SLOTS:
            raise _RefusedError(f"asks for memory slot {argument}, wanted at most {MAX_SLOTS}")


class _RefusedError(Exception):
    """The pickle names something that is not on the list."""


class _ArraysOnly(pickle.Unpickler):
    """Resolves the names that numpy arrays of numbers are pickled with, to functions of ours that check."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is None:
            raise _RefusedError(f"names {module}.{name}, which reference statistics do not need")
        return known

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _RefusedError(f"refers to something outside itself ({pid!r})")


@dataclass(frozen=True)
class _Function:
    """A function the file may call and nothing else: a pickle can set attributes of what it names."""

    call: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("changes a function")


class _Pending:
    """An array between its construction and its state, as pickle splits them."""

    def __init__(self) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("holds an array with an unusual state")
        _, shape, dtype, fortran, data = state
        self.array = _from_buffer(data, dtype, shape, "F" if fortran else "C")


class _Type:
    """A number type between its construction and its state (its byte order)."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in _DTYPES:
            raise _RefusedError(f"holds an array of type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"holds a type of byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


def _array_begun(*_: Any) -> _Pending:
    return _Pending()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: str = "C") -> NDArray[Any]:
    if not isinstance(dtype, _Type) or order not in ("C", "F"):
        raise _RefusedError("holds an array of a type that is no number")
    if not isinstance(shape, tuple) or not all(isinstance(s, int) and 0 <= s <= MAX_FEATURES for s in shape):
        raise _RefusedError(f"holds an array of shape {shape!r}")
    content = bytes(data) if isinstance(data, bytes | bytearray | pickle.PickleBuffer) else b""
    wanted = int(np.prod(shape, dtype=np.int64)) * dtype.dtype.itemsize
    if len(content) != wanted:
        raise _RefusedError(f"holds an array of {len(content)} bytes, wanted {wanted}")
    return np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, data: Any) -> Any:
    return _from_buffer(data, dtype, ()).item()


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError("encodes something that is no array")
    return text.encode("latin1")


_KNOWN: Mapping[tuple[str, str], _Function] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Function(_array_begun) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Function(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Function(_from_buffer) for core in ("core", "_core")},
    ("numpy", "ndarray"): _Function(_array_begun),  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Function(_Type),
    ("_codecs", "encode"): _Function(_latin1),  # protocols below 3 carry bytes as text
}


def _checked(found: Any, where: str) -> ReferenceStats:
    """One family's statistics as float64.

    Raises:
        UserError: not a mean [F] and a finite symmetric covariance [F, F] with a non-negative diagonal.
    """
    if not isinstance(found, dict) or not {"mu", "sigma"} <= set(found):
        raise UserError(f"{where}: wanted `mu` and `sigma`")
    held = [v.array if isinstance(v, _Pending) else v for v in (found["mu"], found["sigma"])]
    if not all(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in held):
        raise UserError(f"{where}: mu and sigma are not arrays of floats")
    mean, cov = (np.ascontiguousarray(v, dtype=np.float64) for v in held)
    if mean.ndim != 1 or not len(mean) or len(mean) > MAX_FEATURES or cov.shape != (len(mean), len(mean)):
        raise UserError(f"{where}: shapes {mean.shape} and {cov.shape}, wanted [F] and [F, F]")
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise UserError(f"{where}: holds values that are not finite")
    if np.abs(cov - cov.T).max() > 1e-6 * np.abs(cov).max() or np.diag(cov).min() < 0:
        raise UserError(f"{where}: sigma is no covariance (not symmetric, or a negative variance)")
    return ReferenceStats(mean, (cov + cov.T) / 2)
