"""The folder in which a training keeps its state between runs."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def state_folder(job: Mapping[str, Any]) -> Path:
    """Where a training keeps its state: keyed by everything that changes its result, outside declared outputs.

    The folder lies under `GUIDELAB_STATE_DIR` (default `.state`).
    """
    key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:20]
    return Path(os.environ.get("GUIDELAB_STATE_DIR", ".state")).absolute() / key


def drop_state(folder: Path) -> None:
    """Remove a finished training's state."""
    shutil.rmtree(folder, ignore_errors=True)
