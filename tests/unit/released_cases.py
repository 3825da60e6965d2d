"""Synthetic pretrained files for tests, and the jobs that convert them."""

from dataclasses import replace
from pathlib import Path

from guidelab.nets.edm2_sizes import CHANNELS
from guidelab.released import load_rows
from guidelab.synthetic.checkpoints import write_synthetic

ROOT = Path(__file__).parents[2]
ROWS = load_rows(ROOT / "workflow/resources/checkpoints.csv")
S = "edm2-img512-s-2147483-0.130"


def listed_as(monkeypatch, resolution_px=8, image_channels=4, classes=4, channels=16):
    """A list of published files in which the rows have the small shapes of the files made here."""
    shape = {"resolution_px": resolution_px, "image_channels": image_channels, "classes": classes}
    rows = {name: replace(row, **shape) if row.resolution_px else row for name, row in ROWS.items()}
    monkeypatch.setattr("guidelab.cli.importing.load_rows", lambda _: rows)
    monkeypatch.setitem(CHANNELS, "S", channels)


def made(folder, name, resolution_px=8, image_channels=4, classes=4, **kwargs):
    kwargs = {"seed": 1, **kwargs}
    return write_synthetic(
        ROWS[name],
        folder,
        resolution_px=resolution_px,
        image_channels=image_channels,
        classes=classes,
        **kwargs,
    )


def job(name=S, folder=None, **changes):
    expect = {"name": "edm2", "resolution_px": 8, "image_channels": 4, "classes": 4}
    base = {
        "checkpoint": ROWS[name].as_job(),
        "folder": str(folder),
        "as": "model",
        "seeds": [0],
        "code": "c",
    }
    return {**base, "expect": expect | changes.pop("expect", {}), "inputs": {}, **changes}
