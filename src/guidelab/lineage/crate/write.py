"""Write a finished run as an RO-Crate: printed results, their inputs, and a description of every job.

Follows RO-Crate 1.1 with the profiles Workflow Run Crate 0.5 and Process Run Crate 0.5. Small files are inside; large ones
(checkpoints, samples) are described by path and sha256, and stay in DVC's store.

Source: https://w3id.org/ro/crate/1.1, https://w3id.org/ro/wfrun/workflow/0.5.
"""

import shutil
import tempfile
from pathlib import Path

from guidelab.errors import UserError
from guidelab.lineage.crate.contents import files_of, printed, refuse_changed, refuse_other_parameters
from guidelab.lineage.crate.entities import About, Crate
from guidelab.lineage.trail.book import Book, experiment_of, walk
from guidelab.lineage.trail.now import Now


def write_crate(table: str, target: Path, about: About, now: Now, root: Path = Path()) -> dict[str, int]:
    """Write the crate of the run that made a table, completely or not at all.

    Args:
        table: below `results/`.
        target: a folder that does not exist yet, or a name that ends in `.zip`.
        about: see `About`.
        now: the current parameters of a file's job, see `Now`.
        root: the project's folder.
    Returns:
        how many files are inside, how many are described only, and how many jobs.
    Raises:
        UserError: the library is absent, the target is there, nothing is recorded of the table, a file that belongs
            inside is absent, foreign or not what its job wrote, or a job ran with other parameters than params.yaml has.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError as error:
        raise UserError(
            f"guidelab crate: the package {error.name!r} is not installed; it is optional. Install it with: pip install '.[crate]'"
        ) from error
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: is there already; give another name, or remove it")
    book = Book(root)
    book.needed(table)
    steps = walk(book, printed(book, table))
    inside = files_of(book, table, steps, root)
    refuse_changed(book, table, inside, steps, root)
    refuse_other_parameters(steps, now, table)
    made = Crate(ROCrate(version="1.1"), root, about, experiment_of(table))
    made.describe(table)
    for path in inside:
        made.add_file(path, book.sha256(path))
    made.add_run(steps, table)
    _write(made, target)
    return {"files": len(made.files), "described": len(made.described), "jobs": len(steps)}


def _write(made: Crate, target: Path) -> None:
    """Write under a temporary name, then rename, so that the target is always complete.

    Raises:
        UserError: it cannot be written; nothing is left.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:80]}."))
        try:
            whole = work / target.name
            made.crate.write_zip(whole) if target.suffix == ".zip" else made.crate.write(whole)
            whole.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error
