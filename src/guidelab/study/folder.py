"""Set up a user's folder in which the workflow runs: its parameters, a Snakefile that uses ours, a DVC pipeline, profiles."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from guidelab.errors import UserError, closest
from guidelab.plan.dvc import dvc_yaml
from guidelab.plan.plan import Plan
from guidelab.project import root
from guidelab.spec.load import load_spec
from guidelab.spec.reading import read_yaml

SNAKEFILE = """\
from guidelab.project import root


module guidelab:
    snakefile: root() / "Snakefile"
    config: config


use rule * from guidelab
"""
_PROFILES = "workflow/profiles"
_IGNORED = "logs/\n.snakemake/\n.state/\n.inductor/\n*.tmp\n"
_HEADER = """\
# The constants of this study, copied from the parameters of guidelab: change any. `guidelab check` validates the file.
# Numbers are those of YAML 1.2 (1.0e-2 or 1e-2, no leading zeros); sizes may be written 64Ki or 16Mi (binary multiples).

default: [{name}]

experiments:
"""


def make(folder: Path, experiment: str) -> list[str]:
    """Write a study folder; returns its files.

    A new folder is written under a temporary name and renamed when it is complete; into an empty one the complete files are moved,
    as it may be a shell's current folder.

    Args:
        folder: new or empty, or a link to such a folder. experiment: of guidelab's own params.yaml, to begin with.
    Raises:
        UserError: no such experiment, a folder that holds something, or one that cannot be written.
    """
    text = parameters((root() / "params.yaml").read_text(encoding="utf-8"), experiment)
    target = Path(os.path.realpath(folder))
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(
                f"{folder}: holds something already; give a new or an empty folder. Nothing was written"
            )
        _place(target, text, experiment)
        return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); give another folder"
        ) from error


def parameters(shipped: str, experiment: str) -> str:
    """An experiment of the shipped parameters and those it extends, as they are written there, comments included.

    Raises:
        UserError: no such experiment; names the closest.
    """
    _, _, body = shipped.partition("\nexperiments:\n")
    parts = re.split(
        r"(?m)^(?=  [A-Za-z]\w*:)", body
    )  # a comment before an entry ends up in the one above it
    entries = {part.partition(":")[0].strip(): part for part in parts[1:]}
    kept: list[str] = []
    name: str | None = experiment
    while name is not None:
        if name not in entries:
            raise UserError(
                f"--from: given {name!r}, wanted one of {', '.join(entries)}{closest(name, list(entries))}"
            )
        kept.insert(0, re.sub(r"(\n *(#.*)?)*\Z", "\n", entries[name]))
        found = re.search(r"\bextends: (\w+)", entries[name])
        name = found[1] if found else None
    return _HEADER.format(name=experiment) + "\n".join(kept)


def _place(target: Path, text: str, experiment: str) -> None:
    """Write a complete study next to a new folder or inside an empty one, then rename it, or move what it holds."""
    empty = target.exists()
    if not empty:
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".init-", dir=target if empty else target.parent) as temporary:
        made = Path(temporary) / "study"
        _write(made, text, experiment)
        if not empty:
            made.rename(target)
            return
        for path in made.iterdir():
            path.rename(target / path.name)


def _write(folder: Path, text: str, experiment: str) -> None:
    shutil.copytree(root() / _PROFILES, folder / _PROFILES)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    (folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    plan = Plan(load_spec(folder / "params.yaml"))
    pipeline = dvc_yaml(plan, read_yaml(folder / "params.yaml"), [experiment], study=True)
    (folder / "dvc.yaml").write_text(pipeline, encoding="utf-8")
