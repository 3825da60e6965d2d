"""Whether files are still what their jobs wrote: read, hashed and compared, each once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.lineage.trail.inside import inside
from guidelab.provenance.disk import sha256
from guidelab.provenance.places import back

INTACT, CHANGED, ABSENT, OUTSIDE = "intact", "changed", "not here", "not a file of this project"


@dataclass(frozen=True)
class State:
    """A file now, beside what was recorded of it.

    Attributes:
        path: the file. word: INTACT, CHANGED, ABSENT, or OUTSIDE for what is not read, see `inside`.
        recorded: its sha256 when its job wrote it. now: as it is; empty when it is not here.
        why: what is wrong with one that is OUTSIDE. back: the command that takes the recorded file back.
    """

    path: str
    word: str
    recorded: str
    now: str = ""
    why: str = ""
    back: str = ""

    def __str__(self) -> str:
        if self.word == CHANGED:
            return f"CHANGED: its sha256 is {self.now[:12]}, its job wrote {self.recorded[:12]}; take it back: {self.back}"
        if self.word == OUTSIDE:
            return f"NOT READ: {self.why}"
        return self.word if self.word == INTACT else f"not here: {self.back}"


class Files:
    """Looks at files below a folder; remembers what it has seen."""

    def __init__(self, root: Path = Path()):
        self.root = root
        self.seen: dict[str, State] = {}

    def state(self, path: str, recorded: str) -> State:
        """Compare a file with its recorded sha256."""
        if path not in self.seen or self.seen[path].recorded != recorded:
            try:
                now = sha256(inside(self.root, path))
                word = INTACT if now == recorded else CHANGED
                self.seen[path] = State(path, word, recorded, now, back=back(self.root, path))
            except UserError as error:
                self.seen[path] = State(path, OUTSIDE, recorded, why=str(error).removeprefix(f"{path}: "))
            except OSError:
                self.seen[path] = State(path, ABSENT, recorded, back=back(self.root, path))
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
            listed = json.loads(inside(self.root, manifest).read_text(encoding="utf-8"))["shards"]
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
        except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError):
            return []

    @property
    def changed(self) -> list[State]:
        """The files that are not what their jobs wrote, or that no job of this project wrote."""
        return [state for state in self.seen.values() if state.word in (CHANGED, OUTSIDE)]
