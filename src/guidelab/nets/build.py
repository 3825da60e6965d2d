"""Build a net from its registered constructor and the arguments of params.yaml."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from guidelab.errors import UserError


def build(
    make: Callable[..., nn.Module],
    name: str,
    arguments: Mapping[str, Any],
    generator: torch.Generator | None = None,
) -> nn.Module:
    """A net with first weights drawn from a generator; from the constructor's own source of them when None.

    Args:
        make: class or function of the registered net `name`.
        arguments: its keyword arguments.
    Raises:
        UserError: arguments that do not fit it.
    """
    drawn = {} if generator is None else {"generator": generator}
    try:
        inspect.signature(make).bind(**arguments)
        return make(**arguments, **drawn)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"net {name}: {error}; given {dict(arguments)}. Correct it in params.yaml."
        ) from error
