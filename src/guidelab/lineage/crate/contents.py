"""Select a crate's files, and refuse a crate whose files are missing, changed, outside the project, or of other parameters."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from guidelab.errors import UserError, counted, plain
from guidelab.lineage.trail.book import Book, Step, experiment_of
from guidelab.lineage.trail.inside import inside
from guidelab.lineage.trail.intact import Files
from guidelab.lineage.trail.now import Now, differences
from guidelab.provenance.places import back, in_git

_BESIDE = (
    "CITATION.cff", "LICENSE", "README.md", "requirements.lock", "pyproject.toml", "workflow/resources/metrics.csv",
    "workflow/resources/published.csv",
)  # fmt: skip
_SHOWN = 5  # named in a message
_PRINTED = ("results/tables/", "results/figures/")


def printed(book: Book, table: str) -> list[str]:
    """The recorded paths of the table and the other printed results, present or not; their jobs are described."""
    recorded = book.recorded(experiment_of(table))
    return list(dict.fromkeys([table, *(path for path in recorded if path.startswith(_PRINTED))]))


def files_of(book: Book, table: str, steps: Iterable[Step], root: Path) -> list[str]:
    """The files that go inside: small results of the jobs, the records, the workflow's own text. No other file of their folders.

    Raises:
        UserError: one that is recorded is not there, or one leads out of the project.
    """
    name = experiment_of(table)
    results = [path for step in steps for path in step.outputs if in_git(path)]
    manifests = [path for path in book.recorded(name) if path.startswith(f"results/{name}/manifests/")]
    records = [f"results/{name}/{kind}/{stage}.json" for kind in ("provenance", "runs") for stage in book.stages(name)]  # fmt: skip
    records += [step.accepted["ledger"] for step in steps if step.accepted]
    rules = [path.relative_to(root).as_posix() for path in sorted((root / "workflow/rules").glob("*.smk"))]
    own = [
        path for path in (*records, *rules, *_BESIDE) if (root / path).is_symlink() or (root / path).exists()
    ]
    wanted = list(dict.fromkeys([table, *results, *manifests, "Snakefile", *own]))
    absent = []
    for path in wanted:
        try:
            inside(root, path)
        except OSError:
            absent.append(path)
    if absent:
        raise UserError(
            f"{table}: {counted(len(absent), 'file')} that belong{'s' if len(absent) == 1 else ''} inside "
            f"{'is' if len(absent) == 1 else 'are'} not here: {_some(absent)}. Take back what git has with: "
            f"{plain(back(root, absent[0]))}"
        )
    return wanted


def refuse_changed(book: Book, table: str, paths: Iterable[str], steps: Sequence[Step], root: Path) -> None:
    """A crate vouches for its files: none may differ from what its job wrote, or be made from what is there no more.

    Raises:
        UserError: names those that do.
    """
    files = Files(root)
    for path in paths:
        recorded = book.sha256(path)
        if recorded:
            files.state(path, recorded)
    if files.changed:
        named = _some([f"{state.path}: {state}" for state in files.changed], "; ")
        raise UserError(
            f"{table}: {counted(len(files.changed), 'file')} behind it {'is' if len(files.changed) == 1 else 'are'} not what "
            f"{'its job' if len(files.changed) == 1 else 'their jobs'} wrote: {named}"
        )
    older = [step.name for step in steps if step.fed is False]
    if older:
        raise UserError(
            f"{table}: made from other inputs than those recorded now: {_some(older)}. Make them again with: "
            f"snakemake -c2 {plain(older[0])}"
        )


def refuse_other_parameters(steps: Iterable[Step], now: Now, table: str) -> None:
    """A crate holds params.yaml, so every job must have run with its parameters.

    Raises:
        UserError: names the jobs with other parameters, and these.
    """
    mismatches = []
    for step in steps:
        planned = now(step.name)
        if planned is None:
            mismatches.append(f"{step.name}: not planned any more")
        elif apart := differences(step, planned):
            mismatches.append(f"{step.name}: {_some(apart, '; ')}")
    if mismatches:
        raise UserError(
            f"{table}: {counted(len(mismatches), 'job')} behind it ran with other parameters than params.yaml has now, which "
            f"goes into the crate: {_some(mismatches, ' | ')}. Run again: snakemake -c2 {table}, or take the parameters back: "
            "git checkout -- params.yaml"
        )


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return plain(between.join(names[:_SHOWN])) + more
