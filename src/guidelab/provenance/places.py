"""Where results are stored (git, DVC, behind a link), and the command that restores a changed one."""

from pathlib import Path, PurePosixPath

_SMALL = ("manifests", "previews", "provenance", "runs")  # folders of an experiment that git keeps


def in_git(path: str) -> bool:
    """Whether git keeps a file: code, and results that are small; the others are in DVC's store."""
    parts = path.split("/")
    return parts[0] != "results" or len(parts) <= 3 or parts[1] in ("tables", "figures") or parts[2] in _SMALL


def folder_link(root: Path, path: str) -> str | None:
    """The first folder on the way to a path that is a link, as one to a scratch disk; None when there is none.

    Args:
        root: the project's folder. path: relative to it; its last part is not looked at.
    """
    parents = [str(parent) for parent in reversed(PurePosixPath(path).parents)][1:]  # without "."
    return next((parent for parent in parents if (root / parent).is_symlink()), None)


def back(root: Path, path: str) -> str:
    """The command that takes a file back as it was recorded.

    Git and DVC replace a link on the way to a file by a folder; behind one the content alone is written, or made again.
    """
    if folder_link(root, path) is None:
        return f"git checkout -- {path}" if in_git(path) else f"dvc pull --force {path}"
    return f"git show HEAD:./{path} > {path}" if in_git(path) else f"rm {path}; snakemake -c2 {path}"
