"""Read published reference statistics (means and covariances of features) in the formats of EDM, EDM2 and ADM."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidelab.checkpoints.pickle_arrays import SealedArray
from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.checkpoints.pickles import read_pickle
from guidelab.checkpoints.tensors import check_member
from guidelab.data import limits
from guidelab.data.archive import unreadable
from guidelab.data.npy import npy_header
from guidelab.data.placeholders import placeholder_file
from guidelab.errors import UserError, brief

NEGATIVE = (
    1e-6  # least eigenvalue of a covariance, relative to the largest: rounding stays far above minus this
)
FAMILIES = ("fid", "fd_dinov2")  # Inception and DINOv2, as the files call them
_IMAGES, _FEATURES, _ABOUT = "arr_0.npy", "features.npy", "guidelab.npy"
_LONG = (_IMAGES, _FEATURES, _ABOUT)  # of any length
_PAIRS = {"": ("mu", "sigma"), "_spatial": ("mu_s", "sigma_s")}  # suffix in this package -> names in an .npz
_READ = ("mu", "sigma", "mu_s", "sigma_s", "arr_0")  # other entries are passed over


def read_npz(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An .npz of EDM (mu, sigma) or of ADM (also mu_s, sigma_s and, as arr_0, images).

    Returns:
        What it holds (`images` [N, H, W, C] or null, `features`), and `mean` [F], `cov` [F, F], and where it has them
        `mean_spatial` [G], `cov_spatial` [G, G], float64.
    Raises:
        UserError: missing, too large, packed to be far larger, cut short, without statistics, or they do not fit.
    """
    source = _sized(path, limits.STATISTICS_BYTES, ".npz of EDM or ADM")
    try:
        with zipfile.ZipFile(source) as archive:
            entries = {e.filename.removesuffix(".npy"): e for e in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise RefusedError("packs two entries of the same name")
            shapes = {name: _shape(archive, entries[name]) for name in _READ if name in entries}
            held = {
                name: _array(archive, entries[name])
                for pair in _PAIRS.values()
                for name in pair
                if name in entries
            }
    except RefusedError as error:
        raise UserError(f"{source}: {error}; nothing in the file was run.") from error
    except Exception as error:  # zipfile, zlib and numpy's parser raise several kinds at damaged bytes
        raise UserError(f"{source}: is not a readable .npz of plain arrays ({brief(error)})") from error
    if not {"mu", "sigma"} <= set(held):
        raise UserError(
            f"{source}: holds no statistics mu and sigma (it holds {', '.join(sorted(name[:40] for name in entries)[:8]) or 'nothing'})"
        )
    tensors: dict[str, Tensor] = {}
    for suffix, (mu, sigma) in _PAIRS.items():
        if mu in held and sigma in held:
            mean, cov = _checked(held[mu], held[sigma], f"{source}: {mu}, {sigma}")
            tensors |= {f"mean{suffix}": mean, f"cov{suffix}": cov}
    config = {
        "images": list(shapes["arr_0"]) if "arr_0" in shapes else None,
        "features": len(tensors["mean"]),
    }
    return config, tensors


def read_features(path: str | Path) -> tuple[dict[str, Any], Tensor | None]:
    """The features of single images that `guidelab statistics` adds to an .npz, and what it says of them.

    Returns:
        `features` (name), `sha256` of their extractor, `n`; empty for a file of another program. And `[N, F]` float32, or None.
    Raises:
        UserError: as `read_npz`.
    """
    source = _sized(path, limits.STATISTICS_BYTES, ".npz")
    try:
        with zipfile.ZipFile(source) as archive:
            entries = {e.filename: e for e in archive.infolist()}
            if not {_FEATURES, _ABOUT} <= set(entries):
                return {}, None
            for name in (_ABOUT, _FEATURES):
                _shape(archive, entries[name])
            if entries[_ABOUT].file_size > limits.NPY_HEADER_BYTES:
                raise RefusedError(f"holds {entries[_ABOUT].file_size} bytes of description")
            about = json.loads(_array(archive, entries[_ABOUT]).tobytes())
            features = torch.from_numpy(_array(archive, entries[_FEATURES]).astype(np.float32))
    except RefusedError as error:
        raise UserError(f"{source}: {error}; nothing in the file was run.") from error
    except Exception as error:  # as in `read_npz`
        raise UserError(f"{source}: is not a readable .npz of plain arrays ({brief(error)})") from error
    if not isinstance(about, dict) or features.ndim != 2 or not bool(torch.isfinite(features).all()):
        raise UserError(f"{source}: holds no features [N, F] of finite numbers with their description")
    return about, features


def read_pkl(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A .pkl of EDM2: statistics of Inception (`mean`, `cov`) and DINOv2 (`mean_dinov2`, `cov_dinov2`).

    Raises:
        UserError: as `read_npz`, or it names anything but arrays.
    """
    source = _sized(path, limits.STATISTICS_PICKLE_BYTES, ".pkl of EDM2")
    content = read_pickle(source, max_bytes=limits.STATISTICS_PICKLE_BYTES)
    if not isinstance(content, dict) or not set(FAMILIES) & set(content):
        raise UserError(
            f"{source}: holds no statistics; wanted EDM2's dictionary with the key fid (Inception) or fd_dinov2 (DINOv2)"
        )
    tensors: dict[str, Tensor] = {}
    for family, suffix in zip(FAMILIES, ("", "_dinov2"), strict=True):
        if family in content:
            found = content[family]
            if not isinstance(found, dict) or not {"mu", "sigma"} <= set(found):
                raise UserError(f"{source}: {family}: wanted `mu` and `sigma`")
            mean, cov = _checked(found["mu"], found["sigma"], f"{source}: {family}")
            tensors |= {f"mean{suffix}": mean, f"cov{suffix}": cov}
    return {"images": None, "features": len(next(iter(tensors.values())))}, tensors


def _sized(path: str | Path, limit: int, wanted: str) -> Path:
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{source}: no such file; wanted reference statistics ({wanted})")
    if source.stat().st_size > limit:
        raise UserError(
            f"{source}: {source.stat().st_size} bytes, wanted at most {limit}: such files are smaller"
        )
    if reason := placeholder_file(source):
        raise UserError(f"{source}: {reason}.")
    return source


def _shape(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, ...]:
    """Shape of one array, from its header, checked against what its entry holds."""
    check_member(entry.filename, entry.external_attr >> 16)
    if fault := unreadable(entry):
        raise RefusedError(f"packs {entry.filename}, which {fault}")
    with archive.open(entry) as file:
        shape, _, dtype = npy_header(file)
        left = entry.file_size - file.tell()
    if dtype.kind not in "fiub":
        raise RefusedError(f"holds {entry.filename} of type {dtype}, wanted plain numbers")
    if len(shape) > limits.RANK or math.prod(shape) * dtype.itemsize != left:
        raise RefusedError(f"claims shape {str(shape)[:80]} for {entry.filename}, which holds {left} bytes")
    if entry.filename not in _LONG and any(side > limits.FEATURES for side in shape[:2]):
        raise RefusedError(
            f"holds {entry.filename} of shape {shape}, wanted at most {limits.FEATURES} features"
        )
    return shape


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """One array whose header `_shape` has validated."""
    with archive.open(entry) as file:
        shape, fortran, dtype = npy_header(file)
        if len(shape) > 2:
            raise RefusedError(f"holds {entry.filename} of shape {shape}, wanted [F] or [F, F]")
        content = file.read(
            math.prod(shape) * dtype.itemsize + 1
        )  # one more: the checksum is verified at the end
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _checked(mean: Any, cov: Any, where: str) -> tuple[Tensor, Tensor]:
    """Mean [F] and covariance [F, F], float64.

    Raises:
        UserError: other shapes, values that are not finite, or no covariance.
    """
    held = [v.value if isinstance(v, SealedArray) else v for v in (mean, cov)]
    if not all(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in held):
        raise UserError(f"{where}: mu and sigma are not arrays of floats")
    m, c = (np.ascontiguousarray(v, dtype=np.float64) for v in held)
    if m.ndim != 1 or not len(m) or len(m) > limits.FEATURES or c.shape != (len(m), len(m)):
        raise UserError(f"{where}: shapes {m.shape} and {c.shape}, wanted [F] and [F, F]")
    if not (np.isfinite(m).all() and np.isfinite(c).all()):
        raise UserError(f"{where}: holds values that are not finite")
    if max(np.abs(m).max(), np.abs(c).max()) > limits.FEATURE_VALUE:
        raise UserError(f"{where}: holds values above {limits.FEATURE_VALUE:g}, which no features have")
    return torch.from_numpy(m.copy()), torch.from_numpy(_covariance(c, where))


def _covariance(c: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """A covariance [F, F], exactly symmetric.

    Raises:
        UserError: it is none, or that of a single image.
    """
    if not c.any():
        raise UserError(f"{where}: sigma is 0 throughout, the covariance of a single image")
    if np.abs(c - c.T).max() > 1e-6 * np.abs(c).max() or np.diag(c).min() < 0:
        raise UserError(f"{where}: sigma is no covariance (not symmetric, or a negative variance)")
    symmetric: NDArray[np.float64] = (c + c.T) / 2
    try:  # a fifth of the time of the eigenvalues, which only a covariance of less than full rank needs
        np.linalg.cholesky(symmetric + NEGATIVE * np.diag(c).max() * np.eye(len(c)))
        return symmetric
    except np.linalg.LinAlgError:
        spectrum = np.linalg.eigvalsh(symmetric)
    if spectrum[0] < -NEGATIVE * abs(spectrum[-1]):
        raise UserError(
            f"{where}: sigma is no covariance (it has the eigenvalue {spectrum[0]:.3g}, wanted none below 0)"
        )
    return symmetric
