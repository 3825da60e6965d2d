"""Whether files are still what their jobs wrote: read, hashed and compared, each once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guidelab.provenance.disk import sha256

INTACT, CHANGED, ABSENT = "intact", "changed", "not here"


@dataclass(frozen=True)
class State:
    """A file now, beside what was recorded of it.

    Attributes:
        path: the file. word: INTACT, CHANGED or ABSENT.
        recorded: its sha256 when its job wrote it. now: as it is; empty when it is not here.
    """

    path: str
    word: str
    recorded: str
    now: str = ""

    def __str__(self) -> str:
        if self.word == CHANGED:
            return f"CHANGED: its sha256 is {self.now[:12]}, its job wrote {self.recorded[:12]}; take it back: {back(self.path)}"
        return self.word if self.word == INTACT else f"not here: {back(self.path)}"


class Files:
    """Looks at files below a folder; remembers what it has seen."""

    def __init__(self, root: Path = Path()):
        self.root = root
        self.seen: dict[str, State] = {}

    def state(self, path: str, recorded: str) -> State:
        """Compare a file with its recorded sha256."""
        if path not in self.seen or self.seen[path].recorded != recorded:
            try:
                now = sha256(self.root / path)
            except OSError:
                now = ""
            word = ABSENT if not now else INTACT if now == recorded else CHANGED
            self.seen[path] = State(path, word, recorded, now)
        return self.seen[path]

    def shards(self, manifest: str, blocks: set[str], train_seeds: set[int]) -> list[dict[str, Any]]:
        """The shards of images behind some rows, each with its state; none when the manifest is not here.

        Args:
            manifest: of samples; a file of points has no shards.
            blocks: names of seed blocks. train_seeds: training seeds; empty for all.
        """
        if not manifest.endswith(".json"):
            return []
        try:
            listed = json.loads((self.root / manifest).read_text(encoding="utf-8"))["shards"]
            used = [
                s
                for s in listed
                if s["block"] in blocks and (not train_seeds or s["train_seed"] in train_seeds)
            ]
            folder = manifest.removesuffix(".json")
            return [
                {**shard, "state": self.state(f"{folder}/{shard['file']}", str(shard["sha256"]))}
                for shard in used
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    @property
    def changed(self) -> list[State]:
        """The files that are not what their jobs wrote."""
        return [state for state in self.seen.values() if state.word == CHANGED]

    @property
    def absent(self) -> list[State]:
        """The files that are not here."""
        return [state for state in self.seen.values() if state.word == ABSENT]


def back(path: str) -> str:
    """How to get a file as it was: small results are in git, large ones in DVC's store."""
    parts = path.split("/")
    small = len(parts) == 3 or parts[1] in ("tables", "figures") or parts[2] in ("manifests", "previews")
    return f"git checkout -- {path}" if small else f"dvc pull --force {path}"
