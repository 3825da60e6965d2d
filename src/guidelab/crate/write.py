"""A finished run as an RO-Crate: what is printed, what it is made of, and a description of every job that made it.

Follows RO-Crate 1.1 with the profiles Workflow Run Crate 0.5 and Process Run Crate 0.5. Small files are inside; large ones
(checkpoints, samples) are described by path and sha256, and stay in DVC's store.

Source: https://w3id.org/ro/crate/1.1, https://w3id.org/ro/wfrun/workflow/0.5.
"""

from collections.abc import Iterable
from pathlib import Path

from guidelab.crate.entities import About, Crate
from guidelab.errors import UserError
from guidelab.trail.book import Book, experiment_of, walk
from guidelab.trail.intact import Files

_BESIDE = (
    "CITATION.cff", "LICENSE", "README.md", "requirements.lock", "pyproject.toml", "workflow/resources/metrics.csv",
    "workflow/resources/published.csv",
)  # fmt: skip


def write_crate(table: str, target: Path, about: About, root: Path = Path()) -> dict[str, int]:
    """Write the crate of the run that made a table.

    Args:
        table: below `results/`.
        target: a folder that does not exist yet, or a name that ends in `.zip`.
        about: see `About`.
        root: the project's folder.
    Returns:
        how many files are inside, how many are described only, and how many jobs.
    Raises:
        UserError: the library is absent, the target is there, nothing is recorded of the table, or a file that belongs
            inside is not what its job wrote.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError as error:
        raise UserError(
            f"guidelab crate: the package {error.name!r} is not installed; it is optional. Install it with: pip install '.[crate]'"
        ) from error
    if target.exists():
        raise UserError(f"{target}: is there already; give another name, or remove it")
    book = Book(root)
    book.needed(table)
    steps = walk(book, _made_for(book, table, root))
    inside = _inside(table, root)
    _refuse_changed(book, inside, root)
    made = Crate(ROCrate(version="1.1"), root, about, experiment_of(table))
    made.describe(table)
    for path in inside:
        made.add_file(path, book.sha256(path))
    made.add_run(steps, table)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made.crate.write_zip(target) if target.suffix == ".zip" else made.crate.write(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error
    return {"files": len(made.files), "described": len(made.described), "jobs": len(steps)}


def _made_for(book: Book, table: str, root: Path) -> list[str]:
    """The table and what is printed beside it: whose jobs are described."""
    name = experiment_of(table)
    figures = sorted((root / f"results/figures/{name}").glob("*"))
    beside = sorted((root / "results/tables").glob(f"{name}[._]*"))
    found = [table, *(path.relative_to(root).as_posix() for path in (*beside, *figures))]
    return [path for path in dict.fromkeys(found) if experiment_of(path) == name and book.step(path)]


def _inside(table: str, root: Path) -> list[str]:
    """The files that go into the crate: printed, measured, recorded; the workflow's own text."""
    name = experiment_of(table)
    patterns = [
        f"results/tables/{name}.*", f"results/tables/{name}_*", f"results/figures/{name}/*", f"results/{name}/*.csv",
        f"results/{name}/metrics.json", f"results/{name}/provenance/*.json", f"results/{name}/runs/*.json",
        f"results/{name}/manifests/*.json", "workflow/rules/*.smk", *_BESIDE,
    ]  # fmt: skip
    found = [p.relative_to(root).as_posix() for pattern in patterns for p in sorted(root.glob(pattern))]
    return [
        path
        for path in dict.fromkeys([table, *found])
        if not path.startswith("results/") or experiment_of(path) == name
    ]


def _refuse_changed(book: Book, paths: Iterable[str], root: Path) -> None:
    """A crate vouches for its files: none of them may differ from what its job wrote.

    Raises:
        UserError: names those that do.
    """
    files = Files(root)
    for path in paths:
        recorded = book.sha256(path)
        if recorded:
            files.state(path, recorded)
    if files.changed:
        told = "; ".join(f"{state.path}: {state}" for state in files.changed[:5])
        raise UserError(f"guidelab crate: {len(files.changed)} files are not what their jobs wrote: {told}")
