"""Parse feature extractors of a command line (lite0, inception=FILE, ...)."""

from pathlib import Path
from typing import Any

from guidelab.errors import UserError, closest
from guidelab.registry import EXTRACTORS
from guidelab.registry.plugins import is_plugin

SHORT = {"lite0": {"name": "efficientnet_lite0", "size_px": 64}}  # by the name that params.yaml gives them
_KNOWN = (*SHORT, "inception", "dinov2", "tiny")


def space_of(text: str) -> tuple[str, dict[str, Any]]:
    """`lite0`, `inception=FILE`, `plugins.mine:Name` -> a name, and its entry under `features` of params.yaml.

    Raises:
        UserError: not known, or a file that is not there.
    """
    name, _, path = text.partition("=")
    if name not in _KNOWN and name not in EXTRACTORS and not is_plugin(name):
        raise UserError(
            f"--features: given {text[:80]!r}, wanted one of {', '.join(_KNOWN)}{closest(name, _KNOWN)}"
        )
    if path and not Path(path).is_file():
        raise UserError(f"--features: {path}: no such file; wanted the weights of {name}")
    if name in ("inception", "dinov2") and not path:
        raise UserError(f"--features: given {name}, wanted {name}=FILE: its weights, which no package ships")
    entry = dict(SHORT.get(name, {"name": name})) | ({"path": str(Path(path).absolute())} if path else {})
    return name.rpartition(":")[2], entry
