"""Download one file over HTTPS, verified by size and sha256, with a progress bar; partial files are removed."""

import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path

from tqdm import tqdm

_TIMEOUT_S = 30  # without an answer; not of the whole download
_CHUNK = 1 << 16  # bytes


def download(url: str, target: Path, size: int, sha256: str) -> None:
    """Fetch a file whose size in bytes and sha256 are known; it appears under its name only when both agree.

    Args:
        url: where it is.
        target: where it goes; its folder exists.
        size: in bytes; not one more is read.
        sha256: hex digits.
    Raises:
        OSError: no connection, an HTTP error, or a file that cannot be written.
        ValueError: another size or sha256.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,
            tqdm(total=size, unit="B", unit_scale=True, desc=target.name, leave=False) as bar,
        ):
            digest, received = hashlib.sha256(), 0
            while chunk := answer.read(min(_CHUNK, size - received + 1)):
                received += len(chunk)
                if received > size:
                    break
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
        if received != size or digest.hexdigest() != sha256:
            got = f"{received} bytes" if received <= size else f"more than {size} bytes"
            raise ValueError(
                f"{url}: given {got} with sha256 {digest.hexdigest()[:12]}..., wanted {size} with {sha256[:12]}..."
            )
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
