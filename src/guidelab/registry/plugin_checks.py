"""Check that a plugin has the attributes and signature of its kind."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from guidelab.errors import UserError
from guidelab.registry import plugins

PARTS = (
    "real",
    "statistics",
    "spatial",
    "logits",
    "labels",
)  # of both sides: what a metric of images may need
_DIRECTIONS = ("lower", "higher", "none")  # which of two values is better
_SHAPES = {  # what a class of a kind has, and where that is described
    "guidance": (("delta", "at_step"), "guidelab.core.guidance.term"),
    "net": (("forward",), "guidelab.core.denoiser"),
    "sampler": (("scaled", "__call__"), "guidelab.sampling.interfaces"),
    "extractor": (("__call__",), "guidelab.features.extractor"),
    "metric": (("__call__",), "guidelab.metrics.value"),
}


def found(kind: str, name: str, where: str = "params.yaml") -> tuple[str, Any] | None:
    """Target `module:attribute` of a plugin and the loaded object; None for a name that is no plugin's.

    Args:
        kind: of the registry. name: as in params.yaml. where: for messages.
    Raises:
        UserError: it cannot be loaded, or is not of the kind.
    """
    if plugins.is_plugin(name):
        made, target = plugins.load(name, where), name
    elif "." in name or ":" in name:
        return None  # no other dotted name is ever imported
    else:
        target = plugins.installed(kind).get(name, "")
        if not target:
            return None
        module, _, attribute = target.partition(":")
        made = getattr(importlib.import_module(module), attribute)
    wrong = shape_mistake(kind, made)
    if wrong:
        raise UserError(f"{where}: {name}: {wrong}")
    return target, made


def shape_mistake(kind: str, made: Any) -> str:
    """What a plugin lacks to be of a kind; empty where nothing is missing.

    Args:
        kind: of the registry.
        made: its class or function.
    """
    wanted, described_in = _SHAPES.get(kind, ((), ""))
    if kind == "figure":
        module = sys.modules.get(getattr(made, "__module__", ""))
        lacking = [name for name in ("rows", "make") if not callable(getattr(module, name, None))]
        return f"its file has no function `{lacking[0]}`; wanted `rows` and `make`" if lacking else ""
    if not callable(made):
        return f"is a {type(made).__name__}, wanted a class or a function"
    if kind == "dataset" and getattr(made, "__name__", "") != "prepare":
        return f"is named {getattr(made, '__name__', '?')!r}, wanted a function `prepare` (see guidelab.data.image_folder)"
    if inspect.isclass(made):
        held = {name for base in made.__mro__ for name in vars(base)}
        lacking = [name for name in wanted if name not in held]
        if lacking:
            return f"has no `{lacking[0]}`; wanted a class with {' and '.join(wanted)} (see {described_in})"
    return _attribute_mistake(kind, made)


def _attribute_mistake(kind: str, made: Any) -> str:
    """An attribute that is missing or of no use."""
    needs, pair = str(getattr(made, "needs", "")), getattr(made, "evaluations", (1, 1))
    if kind == "guidance" and needs not in ("", "ref", "disc"):
        return f"has needs = {needs!r}, wanted 'ref', 'disc' or ''"
    if kind == "sampler" and not (
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, int) and n > 0 for n in pair)
    ):
        return (
            f"has evaluations = {pair!r}, wanted two whole numbers: of the net in a step, and in the last one"
        )
    if kind != "metric":
        return ""
    unknown = [word for word in needs.split() if word not in PARTS]
    if unknown:
        return f"needs {unknown[0]!r}, wanted words of {', '.join(PARTS)}"
    if not isinstance(getattr(made, "label", None), str):
        return "has no `label`; wanted attributes label and direction, and at will unit, digits, definition, group"
    if getattr(made, "direction", None) not in _DIRECTIONS:
        return f"has direction = {getattr(made, 'direction', None)!r}, wanted one of {', '.join(_DIRECTIONS)}"
    return ""


def described(made: Any) -> dict[str, Any]:
    """The line of metrics.csv of a metric of a plugin, from its attributes."""
    definition = getattr(made, "definition", inspect.getdoc(made) if inspect.isclass(made) else made.__doc__)
    return {
        "label": made.label,
        "direction": made.direction,
        "unit": getattr(made, "unit", ""),
        "digits": getattr(made, "digits", 3),
        "definition": " ".join((definition or "").split()),
        "group": getattr(made, "group", "quality"),
    }


def mistakes(made: Any, given: Mapping[str, Any], own: int, project: Mapping[str, Any]) -> str:
    """Why options do not fit a plugin; empty where they do.

    Args:
        made: its class or function; with a pydantic model `Options` that decides.
        given: options of params.yaml.
        own: how many arguments the project itself gives, by position.
        project: those it gives by name.
    """
    options = getattr(made, "Options", None)
    try:
        if options is not None:
            options.model_validate(given)
        else:
            inspect.signature(made).bind(*range(own), **{**project, **given})
    except (TypeError, ValueError) as error:
        return " ".join(str(error).split())[:200]
    return ""
