"""Synthetic checkpoints have reproducible bytes, in every format."""

import pytest
import torch
from released_cases import ROWS, made

from guidelab.synthetic.checkpoints import _WRITERS

OF_FORMAT = {row.format: name for name, row in sorted(ROWS.items())}


@pytest.mark.parametrize("kind", sorted(_WRITERS))
def test_the_same_bytes_for_any_state_of_the_global_generators(kind, tmp_path):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # a net that ignores its generator draws from here
        folder = tmp_path / str(seed)
        sizes = {"resolution_px": 16, "image_channels": 3} if kind == "vae" else {"resolution_px": 8}
        made(folder, OF_FORMAT[kind], **sizes)
        found.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert found[0] and found[0] == found[1]
