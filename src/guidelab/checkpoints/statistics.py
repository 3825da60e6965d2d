"""Published statistics of real images: means and covariances of features, as EDM, EDM2 and ADM publish them."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from guidelab.checkpoints.pickle_arrays import SealedArray
from guidelab.checkpoints.pickle_scan import RefusedError
from guidelab.checkpoints.pickles import read_pickle
from guidelab.checkpoints.tensors import check_member
from guidelab.errors import UserError

MAX_BYTES = 1 << 33  # ADM's files hold 10,000 images beside the statistics
MAX_PICKLE = 1 << 28  # EDM2's hold 2048^2 and 1024^2 float64, 42 MB
MAX_FEATURES = 1 << 13
FAMILIES = ("fid", "fd_dinov2")  # Inception and DINOv2, as the files call them
_PAIRS = {"": ("mu", "sigma"), "_spatial": ("mu_s", "sigma_s")}  # suffix of ours -> names in an .npz


@dataclass(frozen=True)
class Images:
    """Real images kept beside the statistics: shape [N, H, W, 3], uint8; read by `numpy.load(...)["arr_0"]`."""

    n: int
    height: int
    channels: int


def read_npz(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An .npz of EDM (mu, sigma) or of ADM (also mu_s, sigma_s and, as arr_0, images).

    Returns:
        What it holds (`images` [N, H, W, C] or null, `features`), and `mean` [F], `cov` [F, F], and where it has them
        `mean_spatial` [G], `cov_spatial` [G, G], float64.
    Raises:
        UserError: missing, too large, packed to be far larger, cut short, without statistics, or they do not fit.
    """
    source = _sized(path, MAX_BYTES, ".npz of EDM or ADM")
    try:
        with zipfile.ZipFile(source) as archive:
            shapes = {e.filename.removesuffix(".npy"): _shape(archive, e) for e in archive.infolist()}
        with np.load(source, allow_pickle=False) as file:
            held = {name: file[name] for pair in _PAIRS.values() for name in pair if name in shapes}
    except RefusedError as error:
        raise UserError(f"{source}: {error}; nothing in the file was run.") from error
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zipfile.error) as error:
        raise UserError(f"{source}: is not a readable .npz of plain arrays ({error})") from error
    if not {"mu", "sigma"} <= set(held):
        raise UserError(
            f"{source}: holds no statistics mu and sigma (it holds {', '.join(sorted(shapes)[:8])})"
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


def read_pkl(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A .pkl of EDM2: statistics of Inception (`mean`, `cov`) and DINOv2 (`mean_dinov2`, `cov_dinov2`).

    Raises:
        UserError: as `read_npz`, or it names anything but arrays.
    """
    source = _sized(path, MAX_PICKLE, ".pkl of EDM2")
    content = read_pickle(source, max_bytes=MAX_PICKLE)
    if not isinstance(content, dict) or not set(FAMILIES) & set(content):
        raise UserError(f"{source}: holds no statistics; wanted the keys {' or '.join(FAMILIES)}")
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
    return source


def _shape(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, ...]:
    """Shape of one array, from its header, checked against what its entry holds."""
    check_member(entry.filename, entry.external_attr >> 16)
    if entry.file_size > MAX_BYTES:
        raise RefusedError(f"packs {entry.filename} of {entry.file_size} bytes, wanted at most {MAX_BYTES}")
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        left = entry.file_size - file.tell()
    if dtype.hasobject or dtype.kind not in "fiub":
        raise RefusedError(f"holds {entry.filename} of type {dtype}, wanted plain numbers")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != left:
        raise RefusedError(f"claims shape {shape} for {entry.filename}, which holds {left} bytes")
    return tuple(shape)


def _checked(mean: Any, cov: Any, where: str) -> tuple[Tensor, Tensor]:
    """Mean [F] and covariance [F, F], float64.

    Raises:
        UserError: other shapes, values that are not finite, or no covariance.
    """
    held = [v.value if isinstance(v, SealedArray) else v for v in (mean, cov)]
    if not all(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in held):
        raise UserError(f"{where}: mu and sigma are not arrays of floats")
    m, c = (np.ascontiguousarray(v, dtype=np.float64) for v in held)
    if m.ndim != 1 or not len(m) or len(m) > MAX_FEATURES or c.shape != (len(m), len(m)):
        raise UserError(f"{where}: shapes {m.shape} and {c.shape}, wanted [F] and [F, F]")
    if not (np.isfinite(m).all() and np.isfinite(c).all()):
        raise UserError(f"{where}: holds values that are not finite")
    if np.abs(c - c.T).max() > 1e-6 * np.abs(c).max() or np.diag(c).min() < 0:
        raise UserError(f"{where}: sigma is no covariance (not symmetric, or a negative variance)")
    symmetric: NDArray[np.float64] = (c + c.T) / 2
    return torch.from_numpy(m.copy()), torch.from_numpy(symmetric)
