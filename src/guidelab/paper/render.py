"""Keyword arguments for saving figures reproducibly: equal rows give equal bytes.

Save inside `style.context()`, which also fixes the fonts that are embedded.
"""

from typing import Any

# No dates and no version of the library in the file: a rerun must not change it.
PDF: dict[str, Any] = {
    "format": "pdf",
    "dpi": 300,  # of the rasterised point clouds
    "metadata": {"CreationDate": None, "ModDate": None, "Creator": "guidelab", "Producer": None},
}
PNG: dict[str, Any] = {"format": "png", "dpi": 200, "metadata": {"Software": None}}
