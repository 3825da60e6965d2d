"""Power-function averages: exponents, decays and reconstruction coefficients, in float64."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from compared import FLOAT64, Output
from torch import Tensor

from guidelab.core import ema


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    given = {
        name.removeprefix("in/"): value.double().numpy()
        for name, value in tensors.items()
        if name.startswith("in/")
    }
    for name in tensors:
        if name == "out/coefficients":
            ours = ema.reconstruct_coefficients(
                given["in_ofs"], given["in_std"], given["out_ofs"], given["out_std"]
            )
        elif match := re.fullmatch(r"out/std_to_exp_(in|out)", name):
            ours = ema.std_to_gamma(given[f"{match[1]}_std"])
        elif match := re.fullmatch(r"out/beta_next(\d+)_delta(\d+)", name):
            ours = ema.beta(int(match[1]), int(match[2]), ema.std_to_gamma(given["out_std"]))
        else:
            continue
        yield Output(name, torch.from_numpy(ours), FLOAT64)
