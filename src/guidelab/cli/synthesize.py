"""`guidelab synthesize`: what a smoke experiment runs on, made up: pictures, and checkpoints in the released formats."""

import json
from pathlib import Path
from typing import Any

from guidelab.io import atomic_write, sha256
from guidelab.released import Row
from guidelab.synthetic.checkpoints import write_synthetic
from guidelab.synthetic.images import write_pictures


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write everything beside the list, then the list with a hash of each file."""
    (listing,) = outputs
    dataset, folder = job["dataset"], listing.parent
    write_pictures(folder / "images", dataset["name"], dataset["classes"], job["pictures"], job["seed"])
    for index, entry in enumerate(job["checkpoints"]):
        shape = {key: value for key, value in entry.items() if key != "row"}
        write_synthetic(Row(**entry["row"]), folder / "checkpoints", seed=job["seed"] + index, **shape)
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path != listing)
    content = {str(path.relative_to(folder)): sha256(path) for path in found}
    with atomic_write(listing) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
