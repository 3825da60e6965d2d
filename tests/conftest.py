"""The files that take longest come first: with one file a worker, whichever is begun last decides how long all take."""

from pathlib import Path

LONGEST = (
    "test_slurm",  # minutes, of which it waits half
    "test_smoke",
    "test_real_images",
    "test_real",
    "test_chain",
    "test_sharing",
    "test_chaos",
    "test_pipeline",
)
assert all((Path(__file__).parent / f"workflow/{name}.py").exists() for name in LONGEST)


def pytest_collection_modifyitems(items):
    """Stable: within a file, and among all others, the order stays."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
