"""Frechet distance and the k-nearest-neighbour metrics, whose reference values stand in the file's configuration."""

from collections.abc import Iterator
from typing import Any

import torch
from compared import FLOAT64, Output
from torch import Tensor

from guidelab.metrics.frechet import frechet_distance, moments
from guidelab.metrics.manifold import manifold


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    generated, reference = tensors["in/fake"], tensors["in/real"]
    distance = frechet_distance(generated=moments(generated), reference=moments(reference))
    yield Output("fid", torch.tensor(distance, dtype=torch.float64), FLOAT64)
    values = manifold(generated=generated, reference=reference, k=int(config["k"]))
    for name in ("precision", "recall", "density", "coverage"):
        value = torch.tensor(getattr(values, name).value, dtype=torch.float64)
        yield Output(name, value, 1e-12)  # shares of counts: equal counts, or wrong
