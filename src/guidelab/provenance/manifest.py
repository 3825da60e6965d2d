"""Write a stage's manifest, the list of its files, and remove unplanned files from the stage's folders."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from guidelab.errors import UserError
from guidelab.provenance.disk import write_text
from guidelab.provenance.prune import prune


def write_manifest(
    path: str | Path,
    files: Sequence[str],
    outs: Iterable[str],
    keep: Iterable[str] = (),
    root: str | Path = ".",
    log: Callable[[str], None] = print,
) -> list[str]:
    """Write the list of a stage's files, and remove from its folders what jobs made and nothing plans any more.

    Without the removal, DVC's hash of a folder would depend on which weights were tried before.

    Args:
        path: the manifest.
        files: the files of the stage; all must exist.
        outs: the folders and files the stage owns, relative to root.
        keep: files in those folders that are not results (the manifest itself, `.gitignore`), and folders, with a
            slash at the end, that hold what a file lists by itself (the shards of samples).
        root: the project's folder.
        log: takes messages about files that are neither planned nor recorded, which stay.
    Returns:
        The removed files, sorted.
    Raises:
        UserError: a file is absent, or a folder lies outside `results/`: nothing is removed then.
    """
    base = Path(root)
    absent = [f for f in files if not (base / f).is_file()]
    if absent:
        raise UserError(
            f"{path}: {len(absent)} of {len(files)} files are not there, the first is {absent[0]}. Build it with: "
            f"snakemake -c2 {absent[0]}"
        )
    folders = [Path(out) for out in outs if (base / out).is_dir()]
    for folder in folders:
        if ".." in folder.parts or folder.parts[:1] != ("results",) or len(folder.parts) < 2:
            raise UserError(f"{path}: will not tidy up {folder}; wanted a folder inside results/")
    provenance = f"{Path(path).parent.parent.as_posix()}/provenance/{Path(path).name}"
    removed = prune(base, folders, (*files, *keep, str(path)), provenance, log)
    write_text(base / path, json.dumps({"files": sorted(files)}, indent=1) + "\n")
    return removed
