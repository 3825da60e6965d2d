"""Decode and crop image files in several processes, in order, with bounded memory."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from guidelab.data import limits
from guidelab.data.center_crop import center_crop
from guidelab.data.fold import refuse_broken
from guidelab.data.image_decode import Pixels, UnusableError, decode_any
from guidelab.errors import UserError

CHUNK = 16  # files a process is handed at a time
_AHEAD = 3  # chunks in work or waiting, for each process
_MEND = "Copy these files again from the original archive; none is skipped silently, and nothing was written."


def cropped(
    where: str, root: str, names: Sequence[str], resolution_px: int, threads: int
) -> Iterator[Pixels]:
    """Every picture as ADM crops it, `[3, R, R]` uint8, in the order of names.

    In memory at a time: 3 chunks of 16 images for each process. After the first unusable file the others are still
    tried, so that all are named, but no more images are given.

    Args:
        where: the dataset, for errors.
        root: folder of the files.
        names: files relative to it.
        resolution_px: height and width wanted; smaller pictures are enlarged.
        threads: processes; 1 decodes in this one.
    Raises:
        UserError: names the files that are missing, corrupt or too large.
    """
    wrong: list[tuple[str, str]] = []
    for chunk in _chunks(where, root, names, resolution_px, threads):
        for name, found in chunk:
            if isinstance(found, str):
                wrong.append((name, found))
            elif not wrong:
                yield found
    refuse_broken(where, wrong, len(names), _MEND)


_Chunk = list[tuple[str, Pixels | str]]  # name, and the image or what is wrong


def _chunks(
    where: str, root: str, names: Sequence[str], resolution_px: int, threads: int
) -> Iterator[_Chunk]:
    starts = range(0, len(names), CHUNK)
    if threads <= 1 or len(starts) < 2:
        for start in starts:
            yield crop_files(root, names[start : start + CHUNK], resolution_px)
        return
    # a server process that never held torch's threads is forked: neither unsafe nor slow for every process
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    processes = min(threads, len(starts))
    waiting: deque[Future[_Chunk]] = deque()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for start in starts:
                waiting.append(pool.submit(crop_files, root, names[start : start + CHUNK], resolution_px))
                if len(waiting) >= _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f"{where}: a process that decodes pictures was killed, most likely for want of memory. Give fewer "
                "--threads, or more memory."
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def crop_files(root: str, names: Sequence[str], resolution_px: int) -> _Chunk:
    """Each file's name with its image `[3, R, R]`, or with what is wrong with it."""
    chunk: _Chunk = []
    for name in names:
        try:
            chunk.append((name, _crop(Path(root) / name, resolution_px)))
        except UnusableError as error:
            chunk.append((name, str(error)))
    return chunk


def _crop(path: Path, resolution_px: int) -> Pixels:
    try:
        with open(path, "rb") as file:
            content = file.read(limits.IMAGE_BYTES + 1)
    except OSError as error:
        raise UnusableError(f"cannot be read ({error.strerror or error})") from error
    if len(content) > limits.IMAGE_BYTES:
        raise UnusableError(f"is larger than {limits.IMAGE_BYTES} bytes")
    pixels = decode_any(path.name, content, gray=False)
    height, width = pixels.shape[:2]
    if resolution_px**2 * max(height, width) > limits.PIXELS * min(height, width):
        raise UnusableError(
            f"is {width} x {height}: too narrow to be brought to {resolution_px} px in this memory"
        )
    return center_crop(np.ascontiguousarray(pixels), resolution_px).transpose(2, 0, 1)
