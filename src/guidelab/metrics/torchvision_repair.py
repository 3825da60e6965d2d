"""Make `import torchvision` work when its compiled operators do not fit the installed torch.

The torchvision wheel of the package index is linked against CUDA. With a CPU build of torch its operator
library does not load, and the import then stops because it describes two operators that were never declared.
Declaring their signatures is enough: nothing in this project calls them, and a caller still gets
torchvision's own error about missing operators.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

# A Library un-declares its operators when it is collected, so it has to live as long as the process.
_declared: list[Any] = []


def import_torchvision() -> ModuleType:
    """The torchvision module, after declaring `nms` and `qnms` when that is what its import lacks.

    Raises:
        RuntimeError: any other failure of the import, unchanged.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    half_imported = [name for name in sys.modules if name.split(".")[0] == "torchvision"]
    for name in half_imported:
        del sys.modules[name]
    declare: Any = torch.library.Library  # carries no types
    library = declare("torchvision", "FRAGMENT")
    _declared.append(library)
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
