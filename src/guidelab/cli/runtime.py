"""Process settings that every command shares: thread limits, device, exit status after a planned stop."""

import os
from pathlib import Path

EXIT_STOPPED = 75  # EX_TEMPFAIL: the job saved its state and stopped by itself; run it again to continue


def limit_threads(threads: int) -> None:
    """Use so many CPU threads; set before torch is first imported, where it still reaches every library.

    Also keeps compiled kernels in the project's own cache folder unless the user chose one.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(".inductor").absolute()))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def choose_device(device: str | None) -> None:
    """Compute there in this process and in those it starts; None leaves the choice to the job."""
    if device:
        os.environ["GUIDELAB_DEVICE"] = device


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file that a person may have open; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
