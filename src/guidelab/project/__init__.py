"""The workflow's own files, which are no modules: Snakefile, workflow/, params.yaml; of a checkout, or inside the wheel."""

from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "files"  # where setup.py puts them


def root() -> Path:
    """The folder of Snakefile, workflow/ and params.yaml."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[3]


def resource(path: str) -> str:
    """A file of the project as the working directory has it; where it has none, the workflow's own by its absolute path."""
    return path if Path(path).is_file() else str(root() / path)
