"""Encode and decode uncompressed PNGs without filters, whose bytes are the same with every library and machine."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2}  # channels -> PNG's colour type: gray, RGB
_BLOCK = 65535  # the most a stored deflate block holds
_BEFORE_PIXELS = 8 + 25 + 8 + 2 + 5  # signature, IHDR, beginning of IDAT, of the zlib stream, of its block


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image `[C, H, W]` uint8, C = 1 (gray) or 3 (RGB).

    Raises:
        ValueError: another dtype, shape or number of channels.
    Source: W3C PNG specification, RFC 1950 and RFC 1951 (stored blocks).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in _COLOUR_TYPE or image.size == 0:
        raise ValueError(
            f"encode_png: given {image.dtype} {image.shape}, wanted uint8 [1, H, W] or [3, H, W]"
        )
    channels, height, width = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # every row begins with its filter: 0, none
    rows[:, 1:] = image.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    return (
        _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", _stored(rows.tobytes())) + _chunk(b"IEND", b"")
    )


def header_fault(content: bytes) -> str:
    """Why the headers of a PNG make its pixels unusable; empty for a sound one, and for any other file.

    Decoders read a header wherever it stands before the pixels, take the last of several, and cut colours of 16 bits
    to 8 without an error.
    """
    if not content.startswith(_SIGNATURE):
        return ""
    place, kinds = len(_SIGNATURE), 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"IDAT":
            break
        if (kind == b"IHDR") != (kinds == 0):
            return "is a PNG whose first chunk is not its only header, wanted one as the PNG standard has it"
        if kind == b"IHDR" and place + 17 <= len(content) and (bits := content[place + 16]) > 8:
            return f"is a PNG of {bits} bits a channel, wanted at most 8 bits a channel"
        place, kinds = place + 12 + size, kinds + 1
    return ""


def decode_plain(content: bytes) -> NDArray[np.uint8] | None:
    """The pixels `[C, H, W]` of a small file that `encode_png` wrote; None for any other file, sound or not.

    Takes a fraction of the time of a general decoder, which counts for sets of many small images. Nothing is taken on trust:
    the file must be what these pixels are encoded as, byte for byte.
    """
    if len(content) < _BEFORE_PIXELS or not content.startswith(_SIGNATURE):
        return None
    width, height, _, colour = struct.unpack_from(">IIBB", content, len(_SIGNATURE) + 8)
    channels = 3 if colour else 1
    count = height * (1 + width * channels)
    if not 0 < count <= min(_BLOCK, len(content) - _BEFORE_PIXELS):
        return None
    rows = np.frombuffer(content, np.uint8, count, _BEFORE_PIXELS).reshape(height, -1)
    pixels = rows[:, 1:].reshape(height, -1, channels).transpose(2, 0, 1)
    return pixels if pixels.size and encode_png(pixels) == content else None


def _stored(content: bytes) -> bytes:
    """A zlib stream that holds its content as it is."""
    blocks = [content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK)]
    parts = [
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks
    ]
    return b"\x78\x01" + b"".join(parts) + struct.pack(">I", zlib.adler32(content))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
