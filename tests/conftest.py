"""The files that take longest come first: with one file a worker, whichever is begun last decides how long all take.

Copies of the project share one folder of compiled modules, see workflow/tree.py; it goes when the tests end.
"""

import os
import shutil
import tempfile
from pathlib import Path

LONGEST = (
    "test_slurm",  # minutes, of which it waits half
    "test_smoke",
    "test_accept",
    "test_real_images",
    "test_real",
    "test_chain",
    "test_sharing",
    "test_chaos",
    "test_pipeline",
)
assert all((Path(__file__).parent / f"workflow/{name}.py").exists() for name in LONGEST)
BYTECODE = "GUIDELAB_TESTS_BYTECODE"


def pytest_configure(config):
    if not hasattr(
        config, "workerinput"
    ):  # the process that starts the others, which inherit its environment
        os.environ[BYTECODE] = tempfile.mkdtemp(prefix="guidelab-bytecode-")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(BYTECODE), ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Stable: within a file, and among all others, the order stays."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
