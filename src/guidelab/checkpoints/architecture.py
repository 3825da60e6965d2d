"""Helpers of the converters of plain state dicts: hints, required parameters, and a check of the inferred architecture."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from guidelab.errors import UserError


class _Uninitialised(TorchFunctionMode):
    """Skip the filling of weights: without memory it has no effect, and torch imports its compiler for normal numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.randn, torch.rand):
            given.pop("generator", None)
            func, given["device"] = (
                torch.empty,
                "cpu",
            )  # no page of it is touched, and tables can be computed from it
        fills = func in (Tensor.normal_, Tensor.uniform_) or func in vars(nn.init).values()
        return (args[0] if args else given["tensor"]) if fills else func(*args, **given)


def shapes(make: type[nn.Module], config: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Shapes of the state of the network a configuration describes, by name; it gets no memory for its weights.

    Args:
        make: class of the network.
        config: its constructor arguments, and its `name`.
    Raises:
        ValueError: there can be no such network.
    """
    with torch.device("meta"), _Uninitialised():
        net = make(**{key: value for key, value in config.items() if key != "name"})
    return {name: value.shape for name, value in net.state_dict().items()}


def fits(make: type[nn.Module], config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not exactly the state of the network a configuration describes.

    Args:
        make: class of the network; it is built without memory for its weights.
        config: its constructor arguments, and its `name`.
        tensors: by the network's own names.
    Raises:
        UserError: they do not fit, or there can be no such network.
    """
    arguments = {key: value for key, value in config.items() if key != "name"}
    found = {name: value.shape for name, value in tensors.items()}
    where = f"parameters taken for {config['name']} with {arguments}"
    try:
        wanted = shapes(make, config)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    for name in sorted(wanted.keys() | tensors.keys()):
        had, needed = (tuple(sizes[name]) if name in sizes else "nothing" for sizes in (found, wanted))
        if had != needed:
            raise UserError(
                f"{where}: {name} holds {had}, wanted {needed}. Is it the file of another network? Where only its "
                "architecture was guessed wrongly, give hints."
            )


def need(state: Mapping[str, Tensor], name: str, what: str) -> Tensor:
    """A tensor that every checkpoint of this kind has.

    Raises:
        UserError: it has none of this name.
    """
    if name not in state:
        some = ", ".join(sorted(state)[:3]) or "nothing"
        raise UserError(
            f"checkpoint of {what}: has no {name} (it has {some} ...). Is it the file of another network?"
        )
    return state[name]


def known(hints: Mapping[str, Any] | None, names: tuple[str, ...], what: str) -> dict[str, Any]:
    """Hints as a dictionary.

    Raises:
        UserError: one of them is not known.
    """
    unknown = sorted(set(hints or {}) - set(names))
    if unknown:
        raise UserError(
            f"checkpoint of {what}: hint {unknown[0]!r} is not known; wanted some of {', '.join(names)}"
        )
    return dict(hints or {})
