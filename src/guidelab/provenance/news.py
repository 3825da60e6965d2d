"""Find files made since the last export of records, by their own jobs and unchanged since."""

import calendar
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from guidelab.provenance import notes
from guidelab.provenance.disk import Metadata, State, stat
from guidelab.provenance.records import Entries, Entry, combined
from guidelab.provenance.runs import payload_of

_SAME_TIME_S = 1e-3  # between a file's time and the time its record gives
_CLOCKS_S = 5.0  # between the clocks of the machine of a job and that of Snakemake


class News:
    """Compares the files of a project with Snakemake's records, with what was carried before, and with the jobs' notes."""

    def __init__(self, root: Path, state: State, metadata: Metadata, known: Entries):
        self.root, self.state, self.metadata, self.known = root, state, metadata, known

    def ran(self, path: str) -> bool:
        """Whether Snakemake made this very file since the records were last carried.

        Records are compared by content: in a copy of a project they have other inodes and say the same.
        """
        now, record = stat(self.root / path), stat(self.metadata.path(path))
        seen = self.state.files.get(path)
        if now is None or record is None or (seen and seen[1] == record) or self.metadata.is_incomplete(path):
            return False
        if not self.has_its_time(path):
            return False
        if seen:
            return bool(seen[4] != self.metadata.content(path))
        return path not in self.known or not same(self.metadata.read(path), self.known[path])

    def has_its_time(self, path: str) -> bool:
        """Whether a file has the modification time that Snakemake recorded; one edited or fetched since has another."""
        now, made = stat(self.root / path), self.metadata.read(path)
        return (
            now is not None
            and made is not None
            and abs(float(made.get("endtime") or 0) - now[1] / 1e9) < _SAME_TIME_S
        )

    def is_news(self, path: str) -> bool:
        """Whether a file's record has to be exported: its job ran, or its entry was lost with an unchanged file."""
        if self.ran(path):
            return True
        seen = self.state.files.get(path)
        intact = seen is not None and bool(seen[3]) and stat(self.root / path) is not None
        if path in self.known or path in self.state.differing:
            return False
        return intact and self.state.sha256(path) == self.state.files[path][3]

    def changed_since(self, paths: Iterable[str]) -> set[str]:
        """Of files whose jobs ran, those whose content is not what the job's own note says it wrote."""
        jobs: dict[str, list[str]] = {}
        for path in paths:
            record = self.metadata.read(path) or {}
            jobs.setdefault(json.dumps([record.get(k) for k in ("rule", "params", "log")]), []).append(path)
        found = set()
        for outputs in jobs.values():
            wrote = self._noted(min(outputs), self.metadata.read(min(outputs)) or {})
            found |= {path for path in outputs if wrote.get(path, "") not in ("", self.state.sha256(path))}
        return found

    def _noted(self, first: str, record: Mapping[str, Any]) -> dict[str, str]:
        """The content of a job's outputs by its note; empty where this run of it left none."""
        note = notes.read(self.root, first)
        if note is None or not note["finished"] or note["job"] != notes.key_of(payload_of(record)):
            return {}
        try:
            started = calendar.timegm(time.strptime(str(note["started"]), notes.TIME))
        except ValueError:
            return {}
        outputs: dict[str, str] = note["outputs"]
        return outputs if started >= float(record.get("starttime") or 0) - _CLOCKS_S else {}

    def inputs(self, path: str, sources: Iterable[str], shas: Mapping[str, str]) -> str | None:
        """One hash for the inputs of a job that just ran, as they are on disk; of absent ones, as recorded.

        Returns:
            None if one is younger than the file, so may be another than the job read.
        """
        ours = [source for source in sources if source in shas]
        made, present = stat(self.root / path), {source: stat(self.root / source) for source in ours}
        if made is None or any(p is not None and p[1] > made[1] for p in present.values()):
            return None
        read = {source: self.state.sha256(source) if present[source] else shas[source] for source in ours}
        return combined(ours, read)


def same(record: Mapping[str, Any] | None, entry: Entry) -> bool:
    """Whether a record of Snakemake's says what an entry says."""
    return (
        record is not None
        and Entry.from_snakemake(entry.sha256, record, entry.inputs_sha256).fingerprint == entry.fingerprint
    )
