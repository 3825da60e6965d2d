"""Who computes what a reference file is compared with, by the beginning of its name. One module per family."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import family_adm
import family_center_crop
import family_dg
import family_dit
import family_edm
import family_edm2
import family_metrics
import family_posthoc_ema
import family_toy2d
import torch
from compared import Output
from safetensors import safe_open
from torch import Tensor

Family = Callable[[dict[str, Tensor], dict[str, Any]], Iterator[Output]]

FAMILIES: dict[str, Family] = {
    "adm": family_adm.outputs,
    "center_crop": family_center_crop.outputs,
    "dg_": family_dg.outputs,
    "dit": family_dit.outputs,
    "edm2": family_edm2.outputs,
    "edm_": family_edm.outputs,
    "metrics": family_metrics.outputs,
    "posthoc_ema": family_posthoc_ema.outputs,
    "toy2d": family_toy2d.outputs,
}


@dataclass
class Reference:
    """A reference file: tensors (float16 weights widened, which is exact) and its configuration."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Reference":
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return cls({k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}, config)

    def pinned(self) -> dict[str, Tensor]:
        """Everything the file pins: its tensors `out/...`; without any, the real numbers of its configuration."""
        outputs = {name: value for name, value in self.tensors.items() if name.startswith("out/")}
        numbers = {name: value for name, value in self.config.items() if isinstance(value, float)}
        return outputs or {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}


def family_of(path: Path) -> Family:
    """The comparison for a file name, or KeyError."""
    known = [prefix for prefix in FAMILIES if path.name.startswith(prefix)]
    if not known:
        raise KeyError(f"{path.name}: no such family; known are {', '.join(FAMILIES)}")
    return FAMILIES[max(known, key=len)]
