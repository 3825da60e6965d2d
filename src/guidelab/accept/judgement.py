"""The verdict on a replay: equal bytes, a difference, or bytes that only another device produces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guidelab.accept.compare import begins, close, has_course, hashes, same
from guidelab.accept.parts import FIRST_EVALUATION, WHOLE, Part
from guidelab.accept.replay import Replayed
from guidelab.provenance.disk import sha256

SAME = "same bytes as recorded"
ALIKE = "same bytes by both codes; the record holds no early state to compare them with"


@dataclass(frozen=True)
class Shown:
    """The outcome of one replay.

    Attributes:
        part: what was replayed. commit: of the old code.
        why: why it proves nothing; empty when it does. result: in words.
        differs: the new code gives another result: a refused attempt.
        again: a shortened replay that the whole job has to decide.
        old, new: sha256 of the files, by name.
    """

    part: Part
    commit: str
    why: str
    result: str
    differs: bool
    again: bool
    old: Mapping[str, str]
    new: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Why it proves nothing, with the job's name."""
        return self.why if self.part.change.name in self.why else f"{self.part.change.name}: {self.why}"

    @property
    def line(self) -> dict[str, Any]:
        """What a ledger file keeps of it."""
        change = self.part.change
        return {
            "rule": change.rule, "job": change.name, "kind": self.part.kind, "commit": self.commit, "code": change.codes,
            "recorded": dict(change.outputs), "old": dict(self.old), "new": dict(self.new), "result": self.result,
        }  # fmt: skip


def judge(
    part: Part, commit: str, old: Replayed, new: Replayed, root: Path, rtol: float | None, renamed: bool
) -> Shown:
    """Compare a replay of the old and of the new code with each other and with the recorded bytes.

    Args:
        part: what was replayed. commit: of the old code.
        old, new: both replays.
        root: the project's folder, with the recorded files.
        rtol: a tolerance for results of another device or library; None for the same bytes only.
        renamed: a declared table renames keys of payloads.
    """
    files_old, files_new = _files(part, old), _files(part, new)

    def shown(why: str = "", result: str = "", differs: bool = False, again: bool = False) -> Shown:
        return Shown(part, commit, why, result or why, differs, again, hashes(files_old), hashes(files_new))

    if old.failed:
        return shown(f"the old code ends with: {old.failed}", again=part.kind != WHOLE)
    if new.failed:
        return shown(f"the new code ends with: {new.failed}", differs=True)
    apart = "" if set(files_old) == set(files_new) else f"files {sorted(set(files_old) ^ set(files_new))[:3]}"
    pairs = ((name, same(files_new[name], files_old[name], renamed)) for name in files_old if not apart)
    apart = apart or next((f"{name}: {where}" for name, where in pairs if where), "")
    here = _as_recorded(part, files_old, root)
    if not here:
        if apart:
            return shown(f"the new code gives another result: {apart}", differs=True)
        compared = part.kind != FIRST_EVALUATION or any(has_course(file) for file in files_old.values())
        return shown(result=SAME if compared else ALIKE)
    if part.kind != WHOLE:
        return shown(here, again=True)
    if rtol is None:
        return shown(
            f"the old code gives other bytes here than recorded ({here}): another device, library or environment. "
            "Replay it where it was made, or state a tolerance: --across-devices RTOL"
        )
    return _within(part, old, new, root, rtol, shown)


def _within(
    part: Part, old: Replayed, new: Replayed, root: Path, rtol: float, shown: Callable[..., Shown]
) -> Shown:
    """Results of another device: both codes are compared with the bytes first computed."""
    for path, recorded in part.change.outputs.items():
        if not _intact(root / path, recorded):
            return shown(f"{path} is not here as recorded, so a tolerance has nothing to be measured against")
        for code, replayed in (("old", old), ("new", new)):
            where = close(replayed.file(path), root / path, rtol)
            if where:
                return shown(
                    f"the {code} code differs from {path} by more than {rtol:g}: {where}",
                    differs=code == "new",
                )
    return shown(result=f"within {rtol:g} of the recorded values, on another device")


def _files(part: Part, replayed: Replayed) -> dict[str, Path]:
    """The files a replay made, by path; shards as well."""
    found = {path: replayed.file(path) for path in part.change.outputs}
    for path in [path for path in part.change.outputs if path.endswith(".json")]:
        found |= {
            f"{Path(path).with_suffix('')}/{name}": file for name, file in replayed.shards(path).items()
        }
    return found


def _as_recorded(part: Part, files: Mapping[str, Path], root: Path) -> str:
    """Empty when the old code gives the recorded bytes here, else where it does not."""
    if part.kind == WHOLE:
        apart = [
            p for p, sha in part.change.outputs.items() if not files[p].is_file() or sha256(files[p]) != sha
        ]
        return apart[0] if apart else ""
    for path, recorded in part.change.outputs.items():
        if not _intact(root / path, recorded):
            return f"{path} is not here as recorded"
    for path, file in files.items():
        if path.endswith(".json"):
            continue  # lists whole shards; the shards themselves are compared
        recorded_file = root / path if path in part.change.outputs else _recorded_shard(root / path)
        where = begins(file, recorded_file, part.kind) if recorded_file else "a shard is absent"
        if where:
            return f"{path}: {where}"
    return ""


def _recorded_shard(path: Path) -> Path | None:
    """The recorded shard that begins with the same seed: `0-249` of `0-999`."""
    first = path.stem.split("-")[0]
    return next(iter(sorted(path.parent.glob(f"{first}-*.safetensors"))), None)


def _intact(path: Path, recorded: str) -> bool:
    return path.is_file() and sha256(path) == recorded
