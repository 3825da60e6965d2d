"""Build the exact density of a dataset from the spec."""

from collections.abc import Mapping
from typing import Any

from guidelab.registry import DENSITIES


def density(spec: Mapping[str, Any]) -> Any:
    """The registered dataset of a spec's `dataset` entry, with its exact density at every noise level."""
    return DENSITIES.load(spec["name"])(spec["classes"])
