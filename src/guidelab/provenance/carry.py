"""Export Snakemake's records after a run and restore them before the next: clones, checkouts and pulls lack them.

Snakemake decides by records in `.snakemake/`, which no clone has. Without a record it takes a file's parameters
and code for unchanged even if they are not. So every stage stores the records of its files with them, each with
the file's sha256, and they are restored only for files with that content.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from guidelab.plan.stage import Stage
from guidelab.provenance import accepted, records, runs
from guidelab.provenance.disk import Metadata, Stat, State, stat
from guidelab.provenance.news import News, same
from guidelab.provenance.order import OLD, set_times
from guidelab.provenance.places import back
from guidelab.provenance.records import Entries, Entry

Log = Callable[[str], None]
_NAMED = 5  # differing files named one by one


def export(root: str | Path, stages: Sequence[Stage], log: Log | None = None) -> int:
    """Write what Snakemake recorded to the stages' provenance files; for the end of a run.

    A file whose content changed without its job having run keeps its old entry, and is named by `restore`. So do
    files that are absent: a clone without the large files may be worked in.

    Returns:
        How many provenance files changed.
    """
    return _Carrier(root, stages, log or (lambda _: None)).export()


def restore(root: str | Path, stages: Sequence[Stage], log: Log = print, acts: bool = True) -> int:
    """Restore the records of files that a clone or pull brought; for the start of Snakemake's main process.

    Every file is compared with its recorded sha256 first. Those that agree get their record, and a modification
    time that follows the order of the jobs; those that differ are named, and keep their present record.
    Records of absent files are restored as well: their changed parameters matter to what was made from them.
    Does nothing while another Snakemake works here, and never raises for what it finds on disk.

    Args:
        root: the project's folder.
        stages: all of the plan.
        log: takes messages.
        acts: jobs will be run. Then records of an earlier run that was killed are exported; a dry run, which only
            looks, writes no file outside `.snakemake/`.
    Returns:
        The number of restored records.
    """
    return _Carrier(root, stages, log).restore(acts)


class _Carrier:
    def __init__(self, root: str | Path, stages: Sequence[Stage], log: Log):
        self.root, self.stages, self.log = Path(root), stages, log
        self.state, self.metadata = State(self.root), Metadata(self.root)
        self.known: Entries = {}
        self.news = News(self.root, self.state, self.metadata, self.known)

    # ---- export --------------------------------------------------------------------------------------------------

    def export(self) -> int:
        self._read()
        changed = 0
        try:
            fresh = {p for stage in self.stages for p in self._spoken_of(stage) if self.news.is_news(p)}
            fresh -= self._unsigned(fresh)
            shas = {path: entry.sha256 for path, entry in self.known.items()}
            shas |= {path: self.state.sha256(path) for path in fresh}
            for stage in self.stages:
                entries: Entries = {}
                for path in self._spoken_of(stage):
                    record = self.metadata.read(path) if path in fresh else None
                    if record is not None:
                        sources = _texts(record.get("input"))
                        entries[path] = Entry.from_snakemake(
                            shas[path], record, self.news.inputs(path, sources, shas)
                        )
                    elif path in self.known:
                        entries[path] = self.known[path]
                if entries:
                    changed += records.write(self.root, stage, entries)
                    runs.gather(self.root, stage, entries, self.metadata)
                self.known = {p: e for p, e in self.known.items() if not records.owns(stage, p)} | entries
            self._remember(leave=())
        except OSError as error:
            self.log(f"provenance: {_unwritable(error)} The records of this run stay in .snakemake/ only.")
        return changed

    def _unsigned(self, fresh: set[str]) -> set[str]:
        """Files that were changed after their jobs wrote them; they get no entry, and are named."""
        changed = self.news.changed_since(fresh)
        for path in sorted(changed)[:_NAMED]:
            self.log(
                f"provenance: WARNING {path}: was changed after its job wrote it, and is not recorded as its result. "
                f"Delete it and run again: snakemake -c2 {path}"
            )
        return changed

    def _spoken_of(self, stage: Stage) -> list[str]:
        """The files planned for a stage, its manifest, and those still there that no plan names now."""
        planned = dict.fromkeys((*stage.files, stage.manifest))
        rest = (path for path in self.known if path not in planned and records.owns(stage, path))
        return [*planned, *(path for path in rest if (self.root / path).exists())]

    # ---- restore -------------------------------------------------------------------------------------------------

    def restore(self, acts: bool) -> int:
        if self.metadata.is_locked():
            return 0
        if self._nothing_changed():
            self._name_differing()
            return 0
        for complaint in self._read():
            self.log(f"provenance: {complaint}")
        try:
            put_back, settled, pending = self._put_back()
            trouble = set_times(self.root, self.known, settled, self.state)
            if trouble:
                self.log(f"provenance: {_unwritable(trouble)} Jobs may run again that need not.")
            self._remember(leave=pending)
        except OSError as error:
            self.log(
                f"provenance: {_unwritable(error)} Changed parameters of restored results may go unnoticed."
            )
            return 0
        if put_back:
            self.log(f"provenance: restored the records of {len(put_back)} files")
        self._name_differing()
        if acts and any(self.news.ran(path) for stage in self.stages for path in self._spoken_of(stage)):
            export(self.root, self.stages, self.log)  # an earlier run was killed before it could
        return len(put_back)

    def _nothing_changed(self) -> bool:
        """Whether all is as it was at the last look: what every start of Snakemake has to pay for."""
        if self.state.stages != self._written():
            return False
        for path, (file, record, *_) in self.state.files.items():
            if stat(self.root / path) != file or stat(self.metadata.path(path)) != record:
                return False
        files = (path for stage in self.stages for path in (*stage.files, stage.manifest))
        return not any(self.metadata.path(path).exists() for path in files if path not in self.state.files)

    def _put_back(self) -> tuple[set[str], set[str], set[str]]:
        """Write the records of files with the recorded content.

        Returns:
            The files whose record was written; those with it that are there, and new; those of jobs that ran here
            and were not exported yet.
        """
        put_back: set[str] = set()
        settled: set[str] = set()
        pending: set[str] = set()
        for path, entry in self.known.items():
            now, record = stat(self.root / path), stat(self.metadata.path(path))
            seen = self.state.files.get(path)
            if seen and seen[:4] == [now, record, entry.fingerprint, entry.sha256]:
                continue
            ran, arrived = self.news.ran(path), bool(seen and seen[2] != entry.fingerprint)
            if self.metadata.is_incomplete(path) or (ran and not arrived):
                pending.add(path)
            elif now is not None and self.state.sha256(path) != entry.sha256:
                pending.update({path} if ran else ())
            else:
                if not same(self.metadata.read(path), entry):
                    self.metadata.write(path, entry.for_snakemake, OLD - 1)
                    put_back.add(path)
                elif not arrived and self.news.has_its_time(path):
                    continue  # made here, or in the project this one is a copy of
                settled.update({path} if now else ())
        return put_back, settled, pending

    # ---- both ----------------------------------------------------------------------------------------------------

    def _written(self) -> dict[str, Stat]:
        """How the provenance files look now, and the ledger files they may refer to."""
        folders = {accepted.folder(self.root, stage.experiment) for stage in self.stages}
        ledgers = [p.relative_to(self.root).as_posix() for folder in folders for p in folder.glob("*.json")]
        return {path: stat(self.root / path) for path in [*(s.provenance for s in self.stages), *ledgers]}

    def _read(self) -> list[str]:
        """Read all provenance files; returns the complaints."""
        found = [records.read(self.root, stage) for stage in self.stages]
        self.known = {path: entry for entries, _ in found for path, entry in entries.items()}
        self.news.known = self.known
        return [complaint for _, complaint in found if complaint]

    def _remember(self, leave: Iterable[str]) -> None:
        """Save the current state (size, time, content) of every file, except those whose last state is kept.

        Files whose entries were lost stay as they were last seen: one that was changed before stays changed.
        """
        left = {path: self.state.files[path] for path in leave if path in self.state.files}
        apart = set(leave)
        files = {
            p: seen for p, seen in self.state.files.items() if p not in self.known and stat(self.root / p)
        }
        lost = [path for path in self.state.differing if path in files]
        for path, entry in self.known.items():
            now = stat(self.root / path)
            if path not in apart:
                content = self.state.sha256(path) if now else ""
                record, seen = stat(self.metadata.path(path)), self.state.files.get(path)
                known_content = seen[4] if seen and seen[1] == record else self.metadata.content(path)
                files[path] = [now, record, entry.fingerprint, content, known_content]
        self.state.differing = sorted(
            p
            for p, f in files.items()
            if p in lost or (p in self.known and f[3] not in ("", self.known[p].sha256))
        )
        self.state.files = files | left
        self.state.stages = self._written()
        self.state.save()

    def _name_differing(self) -> None:
        differing = self.state.differing
        if differing and not self.known:
            self._read()
        for path in (p for p in differing[:_NAMED] if p in self.known):
            self.log(
                f"provenance: WARNING {path}: its sha256 is {self.state.files[path][3][:12]}, wanted "
                f"{self.known[path].sha256[:12]}, what its job wrote. Take the recorded file back (dvc checkout, or "
                f"{back(self.root, path)}), or delete it and run again."
            )
        if len(differing) > _NAMED:
            self.log(
                f"provenance: WARNING {len(differing) - _NAMED} more files differ from what their jobs wrote"
            )


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _unwritable(error: OSError) -> str:
    return f"{error.filename or '.snakemake'}: cannot be written ({error.strerror or error})."
