"""Read and check the ledger files of an experiment: one file per acceptance."""

from pathlib import Path
from typing import Any

from guidelab.provenance import accepted


def whole_ledger(root: Path, experiment: str) -> list[dict[str, Any]]:
    """All ledger files of an experiment, each checked, none missing.

    Raises:
        UserError: one was edited or copied from elsewhere, or one that another refers to is absent.
    """
    found = [
        {**accepted.read(root, experiment, name), "name": name} for name in accepted.names(root, experiment)
    ]
    for name in {str(name) for ledger in found for name in ledger["previous"]} - {
        ledger["name"] for ledger in found
    }:
        accepted.read(root, experiment, name)
    return found
