"""What every command needs from the process it runs in: threads, the state folder, the planned stop."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guidelab.train.stop import Stopped

__all__ = ["EXIT_STOPPED", "Stopped", "drop_state", "limit_threads", "state_folder", "write_text"]

EXIT_STOPPED = 75  # EX_TEMPFAIL: the job saved its state and stopped by itself; run it again to go on


def limit_threads(threads: int) -> None:
    """Use so many CPU threads; set before torch is first imported, where it still reaches every library.

    Also keeps compiled kernels in the project's own cache folder unless the user chose one.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(".inductor").absolute()))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def state_folder(job: Mapping[str, Any]) -> Path:
    """Where a training keeps its state: keyed by everything that changes its result, outside declared outputs.

    The folder lies under `GUIDELAB_STATE_DIR` (default `.state`).
    """
    key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:20]
    return Path(os.environ.get("GUIDELAB_STATE_DIR", ".state")).absolute() / key


def drop_state(folder: Path) -> None:
    """Remove a finished training's state."""
    shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file that a person may have open; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
