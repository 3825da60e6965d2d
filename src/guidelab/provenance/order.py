"""Set modification times in the order of the jobs; git and DVC restore files in any order."""

import os
from collections import deque
from pathlib import Path

from guidelab.provenance.disk import State, stat
from guidelab.provenance.records import Entries, combined

OLD = (
    1_000_000_000  # 2001: restored files are older than every source, so that sources are compared by content
)


def set_times(root: Path, known: Entries, settled: set[str], state: State) -> OSError | None:
    """Give restored files, and all files they were made from, times in the order of the jobs.

    A file that was made from other inputs than those recorded now is made the oldest of all: Snakemake then
    compares its inputs by content.

    Returns:
        The first error, if a time could not be set: files of another user, a read-only disk.
    """
    if not settled:
        return None
    trouble = None
    shas = {path: entry.sha256 for path, entry in known.items()}
    involved, depths = _with_ancestors(settled, known), _depths(known)
    for path, entry in known.items():
        in_order = entry.inputs_sha256 == combined(entry.sources, shas)
        now = stat(root / path)
        if now is None or (in_order and path not in involved) or state.sha256(path) != entry.sha256:
            continue  # absent, not a result, or made here since
        time = OLD + (depths.get(path, 0) if in_order else 0)
        if now[1] != time * 10**9:
            content = entry.sha256
            try:
                os.utime(root / path, (time, time))
            except OSError as error:
                trouble = trouble or error
            state.know(path, content)
    return trouble


def _with_ancestors(paths: set[str], known: Entries) -> set[str]:
    found, todo = set(paths), list(paths)
    while todo:
        sources = {source for source in known[todo.pop()].sources if source in known} - found
        found |= sources
        todo += sources
    return found


def _depths(known: Entries) -> dict[str, int]:
    """1 for files made from no other result, more downstream; files in a cycle (a forged record) are left out."""
    sources = {path: {s for s in entry.sources if s in known} for path, entry in known.items()}
    made_from: dict[str, list[str]] = {}
    for path, found in sources.items():
        for source in found:
            made_from.setdefault(source, []).append(path)
    waiting = {path: len(found) for path, found in sources.items()}
    ready = deque(path for path, n in waiting.items() if n == 0)
    depths = dict.fromkeys(ready, 1)
    while ready:
        source = ready.popleft()
        for path in made_from.get(source, ()):
            waiting[path] -= 1
            if waiting[path] == 0:
                depths[path] = 1 + max(depths[s] for s in sources[path])
                ready.append(path)
    return depths
