"""Shapes of a net without its weights: what `guidelab convert` compares a file with, in less time than the import of torch's compiler."""

import subprocess
import sys

import pytest

from guidelab.checkpoints.architecture import shapes
from guidelab.nets.adm import Adm
from guidelab.nets.dit import Dit
from guidelab.nets.edm import Edm
from guidelab.nets.edm2 import Edm2

_SIDE = {"resolution_px": 32, "image_channels": 3}
_LEVELS = {"channels": 32, "channel_mult": [1, 2, 4], "blocks": 1, "attention_px": [8]}
NETS = [
    (Dit, {"width": 384, "depth": 1, "heads": 6, "resolution_px": 8, "image_channels": 4, "classes": 4}),
    (Adm, _SIDE | _LEVELS | {"classes": 4}),
    (Edm2, _SIDE | {"channels": 16, "channel_mult": [1.0, 2.0], "blocks": 1, "attention_px": [16], "classes": 4}),
    (Edm, _SIDE | {"classes": 0, "architecture": "ddpmpp", "precond": "edm", "channels": 16, "channel_mult": [1, 2], "blocks": 1, "attention_px": [16]}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "config"), NETS, ids=lambda part: getattr(part, "__name__", ""))
def test_shapes_are_those_of_the_net_with_its_weights(make, config):
    assert shapes(make, {"name": "any"} | config) == {
        k: v.shape for k, v in make(**config).state_dict().items()
    }


def test_they_import_no_compiler_but_for_edm():
    """EDM's nets compute filters and tables without memory, which takes torch's compiler."""
    program = f"""
import sys
sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})
from test_released_shapes import NETS, shapes
for make, config in NETS[:3]:
    shapes(make, config)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
