"""Safe image decoding: dimensions are validated before pixel data is decoded."""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from guidelab.data import limits
from guidelab.data.npy import npy_header
from guidelab.data.placeholders import placeholder
from guidelab.data.png import decode_plain, header_fault
from guidelab.errors import UserError, brief, plain

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # what Pillow may try; its other readers stay out of reach
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".npy")
_NAMED = 5  # files an error names; further ones are counted
_ENOUGH = 100  # bad files after which reading stops
Pixels = NDArray[np.uint8]


class UnusableError(ValueError):
    """One file that is no image for us, and why; `decode_all` gathers these into one UserError."""


def decode_exact(name: str, content: bytes) -> Pixels:
    """Pixels `[C, H, W]` of a dataset's file, as they are: 8-bit gray or RGB pictures, uint8 NPY arrays.

    Raises:
        UnusableError: corrupt, too large, of another kind; nothing is converted silently.
    """
    if name.lower().endswith(".npy"):
        return _npy(content)
    if (plain := decode_plain(content)) is not None:
        return plain
    with _opened(content) as picture:
        if picture.mode not in ("L", "RGB"):
            raise UnusableError(
                f"is a picture of mode {picture.mode}, wanted 8-bit gray or RGB without transparency"
            )
        pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_any(name: str, content: bytes, gray: bool) -> Pixels:
    """Pixels `[H, W, 1]` (gray) or `[H, W, 3]` of a picture of any 8-bit mode, as ADM read ImageNet.

    Palettes and CMYK become RGB, transparency is dropped, orientation tags are not followed.

    Raises:
        UnusableError: corrupt, too large, or not 8 bits a channel.
    """
    if name.lower().endswith(".npy"):
        pixels = _gray_or_rgb(_npy(content)).transpose(1, 2, 0)
        return pixels if gray else np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    with _opened(content) as picture:
        _at_most_8_bits(picture)
        pixels = np.asarray(picture.convert("L" if gray else "RGB"))
    return pixels[..., None] if gray else pixels


def is_gray(name: str, content: bytes) -> bool:
    """Whether a file holds one channel, by its header.

    Raises:
        UnusableError: see `decode_any`.
    """
    if name.lower().endswith(".npy"):
        return len(_gray_or_rgb(_npy(content))) == 1
    with _opened(content, load=False) as picture:
        _at_most_8_bits(picture)
        return str(picture.mode) in ("1", "L")


def _gray_or_rgb(pixels: Pixels) -> Pixels:
    if len(pixels) not in (1, 3):
        raise UnusableError(f"holds {len(pixels)} channels, wanted 1 or 3")
    return pixels


def _at_most_8_bits(picture: Image.Image) -> None:
    if picture.mode.startswith(("I", "F")):  # converting these would clip them
        raise UnusableError(f"is a picture of mode {picture.mode}, wanted at most 8 bits a channel")


def decode_all(
    where: str, names: list[str], content: Callable[[str], bytes], decode: Callable[[str, bytes], Pixels]
) -> Tensor:
    """Decode files of one common square shape into `[N, C, R, R]` uint8.

    Args:
        where: the dataset, for the error.
        names: files in the order wanted, at least one.
        content: a file's bytes by its name; may raise anything.
        decode: name and bytes to `[C, R, R]`; raises `UnusableError`.
    Raises:
        UserError: names the files that are corrupt, not square, or not of the first usable file's shape.
    """
    out: Tensor | None = None
    first, wrong = "", []
    for index, name in enumerate(names):
        try:
            pixels = decode(name, _read(content, name))
            if pixels.shape[1] != pixels.shape[2]:
                raise UnusableError(
                    f"is {pixels.shape[2]} wide and {pixels.shape[1]} high, wanted square images"
                )
            if out is None:
                first, out = name, torch.empty(len(names), *pixels.shape, dtype=torch.uint8)
            if out.shape[1:] != pixels.shape:
                raise UnusableError(f"is {_size(pixels.shape)}, but {first} is {_size(tuple(out.shape[1:]))}")
            out[index].numpy()[...] = pixels
        except UnusableError as error:
            wrong.append((name, str(error)))
            if len(wrong) == _ENOUGH:
                break
    refuse(where, wrong, len(names))
    assert out is not None  # nothing was wrong, and there is a name
    return out


def gray_throughout(where: str, names: list[str], content: Callable[[str], bytes]) -> bool:
    """Whether every file is gray; reads no further than the first file with colours.

    Raises:
        UserError: names a file before that one whose header cannot be read.
    """
    for name in names:
        try:
            if not is_gray(name, _read(content, name)):
                return False
        except UnusableError as error:
            refuse(where, [(name, str(error))], len(names))
    return True


def refuse(where: str, wrong: list[tuple[str, str]], total: int) -> None:
    """Raise a UserError that names the unusable files and why each is; nothing when there are none."""
    if not wrong:
        return
    named = "; ".join(f"{plain(name)[:200]} {plain(why)}" for name, why in wrong[:_NAMED])
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    count = f"at least {len(wrong)}" if len(wrong) == _ENOUGH else str(len(wrong))
    raise UserError(
        f"{where}: {count} of {total} images cannot be used: {named}{more}. Replace these files, or remove them and "
        "their lines in dataset.json; none is skipped silently."
    )


def _read(content: Callable[[str], bytes], name: str) -> bytes:
    try:
        return content(name)
    except UnusableError:
        raise
    except Exception as error:  # archives and file systems may raise any exception type
        raise UnusableError(f"cannot be read ({brief(error)})") from error


@contextmanager
def _opened(content: bytes, load: bool = True) -> Iterator[Image.Image]:
    """Open an image and validate its size before decoding; decoders' errors become `UnusableError`."""
    if reason := placeholder(content):
        raise UnusableError(reason)
    if reason := header_fault(content):
        raise UnusableError(reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            if picture.width * picture.height > limits.PIXELS:
                raise UnusableError(
                    f"says it is {picture.width} x {picture.height}, more than {limits.PIXELS} pixels"
                )
            # a phone's MPO, which Pillow's JPEG reader gives, holds the photograph first, then previews or depth
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise UnusableError("holds several frames, wanted one picture")
            if load:
                picture.load()
    except UnusableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableError(f"says it has more than {limits.PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise UnusableError(f"is no {', '.join(FORMATS)} picture") from error
    except Exception as error:  # decoders of broken files may raise any exception type
        raise UnusableError(f"is corrupt ({brief(error)})") from error
    with picture:
        yield picture


def _npy(content: bytes) -> Pixels:
    """An NPY array as `[C, H, W]`: its header is parsed (literals only) and validated, no pickle is ever read."""
    if reason := placeholder(content):
        raise UnusableError(reason)
    file = io.BytesIO(content)
    try:
        shape, fortran, dtype = npy_header(file)
    except ValueError as error:
        raise UnusableError(str(error)) from error
    start = file.tell()
    if dtype != np.dtype(np.uint8):
        latents = " (latents of EDM2 are read by guidelab prepare image-zip)" if dtype.kind == "f" else ""
        raise UnusableError(f"holds {dtype} values, wanted uint8 images{latents}")
    if not 2 <= len(shape) <= limits.RANK or min(shape) < 1 or math.prod(shape) > 3 * limits.PIXELS:
        raise UnusableError(f"has shape {str(shape)[:80]}, wanted [C, H, W]")
    if len(content) - start != math.prod(shape):
        raise UnusableError(f"holds {len(content) - start} values, but its header says {math.prod(shape)}")
    values = np.frombuffer(content, np.uint8, offset=start).reshape(shape, order="F" if fortran else "C")
    return values.reshape(-1, *shape[-2:])


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} pixels with {shape[0]} channel{'s' * (shape[0] > 1)}"
