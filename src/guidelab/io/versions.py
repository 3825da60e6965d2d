"""Package versions that measured rows record."""

import torch


def torch_version() -> str:
    """The torch version without its build label (`2.13.0`, not `2.13.0+cpu`): the label names no arithmetic."""
    return str(torch.__version__).split("+")[0]
