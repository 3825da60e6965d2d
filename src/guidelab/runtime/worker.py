"""One registered process of a project's folder: its file's content, and the command that stops it."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guidelab.errors import plain


@dataclass(frozen=True)
class Worker:
    """One process that runs, or ran, in a folder.

    Attributes:
        name: of its file. kind: `run` (a Snakemake) or `job`.
        what: for messages: the command, or the rule and its first output.
        pid, host, folder, since: which process, where, and from when.
        inode: of the folder, which stays when the folder is moved, and is the same on every machine.
        run: of a job: the name of the Snakemake that started it; empty for one started by hand.
        slurm: the Slurm job it belongs to; empty elsewhere.
        held: it runs. Of an unlocked file of another host nothing is known: not every file system carries
            locks from one machine to another.
    """

    name: str
    kind: str
    what: str
    pid: int = 0
    host: str = ""
    folder: str = ""
    since: str = ""
    run: str = ""
    slurm: str = ""
    inode: int = 0
    held: bool = False

    @property
    def dead(self) -> bool:
        """It was killed: its file exists on this machine without a lock."""
        return not self.held and self.host == socket.gethostname()

    @property
    def unknown(self) -> bool:
        """It is on another machine, and whether it runs cannot be seen from here."""
        return not self.held and not self.dead

    def __str__(self) -> str:
        place = "" if self.host == socket.gethostname() else f" on {self.host}"
        slurm = f", Slurm job {self.slurm}" if self.slurm else ""
        return f"{self.what} (process {self.pid}{place}{slurm}, since {self.since})"


def read(content: dict[str, Any], name: str, held: bool) -> Worker:
    """A file's content, which anybody who may write there may have written: numbers are numbers, texts are printed only.

    Raises:
        ValueError, TypeError: it is not of this format.
    """
    keys = ("what", "host", "folder", "since", "run", "slurm")
    known: dict[str, Any] = {key: plain(str(content.get(key, ""))) for key in keys}
    known |= {key: int(content.get(key, 0)) for key in ("pid", "inode")}
    if known["slurm"] and not known["slurm"].isdigit():
        raise ValueError(f"{name}: no Slurm job: {known['slurm']}")
    known["what"] = known["what"] or "a job"
    return Worker(name, "run" if content.get("kind") == "run" else "job", held=held, **known)


def stop(found: Sequence[Worker | None]) -> str:
    """The commands that stop processes: `scancel` for those of Slurm, `kill` for the others."""
    known = [worker for worker in found if worker is not None]
    slurm = sorted({worker.slurm for worker in known if worker.slurm})
    others = sorted({worker.pid for worker in known if not worker.slurm})
    words = [f"scancel {' '.join(slurm)}"] if slurm else []
    words += [f"kill {' '.join(map(str, others))}"] if others else []
    return "; ".join(words) or "see the processes of this folder"
