"""Code of a user's own: files in the folder plugins/ beside params.yaml, and entry points of installed packages.

Plugins are code and are run by design, so the places they come from are few: the folder `plugins` of the working tree
(`plugins.mine:Name` is `Name` in plugins/mine.py), and packages that somebody installed. With a params.yaml of another
folder its plugins are used only where `GUIDELAB_PLUGINS=1` says so. No other dotted name is ever imported.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from guidelab.errors import UserError

PACKAGE = "plugins"
ALLOWED, FOLDER = "GUIDELAB_PLUGINS", "GUIDELAB_PLUGINS_FOLDER"
_FORM = re.compile(r"plugins((?:\.[A-Za-z_][A-Za-z0-9_]*)+):([A-Za-z_][A-Za-z0-9_]*)")
PARTS = (
    "real",
    "statistics",
    "spatial",
    "logits",
    "labels",
)  # of both sides: what a metric of images may need
_DIRECTIONS = ("lower", "higher", "none")  # which of two values is better
_SHAPES = {  # what a class of a kind has, and where that is described
    "guidance": (("delta", "at_step"), "guidelab.core.guidance.compose"),
    "net": (("forward",), "guidelab.core.denoiser"),
    "sampler": (("scaled", "__call__"), "guidelab.sampling.draw"),
    "extractor": (("__call__",), "guidelab.features.extractor"),
    "metric": (("__call__",), "guidelab.metrics.value"),
}
_ELSEWHERE = "-"  # plugins of another folder that nobody has allowed


def is_plugin(name: str) -> bool:
    """Whether a name has the form `plugins.FILE:NAME`."""
    return _FORM.fullmatch(name) is not None


def use(params: str | Path) -> None:
    """Take plugins from beside a params.yaml; jobs that this process starts do so too.

    Of another folder than the current one only where the variable `GUIDELAB_PLUGINS` is 1.
    """
    beside = Path(params).absolute().parent
    if beside.resolve() == Path.cwd().resolve():
        os.environ.pop(FOLDER, None)
    else:
        os.environ[FOLDER] = str(beside / PACKAGE) if os.environ.get(ALLOWED) == "1" else _ELSEWHERE


def path_of(module: str, where: str = "params.yaml") -> Path:
    """The file of a module `plugins.mine`.

    Raises:
        UserError: plugins are not allowed here, the file is missing, or lies outside the folder.
    """
    given = os.environ.get(FOLDER)
    if given == _ELSEWHERE:
        raise UserError(
            f"{where}: given {module}, but params.yaml lies in another folder, whose plugins are code that would run; "
            f"set {ALLOWED}=1 to allow them"
        )
    folder = Path(given) if given else Path.cwd() / PACKAGE
    path = folder.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if not path.is_file():
        raise UserError(f"{where}: given {module}, wanted a file {path}")
    home = folder.parent.resolve() / PACKAGE
    if folder.resolve() != home or home not in path.resolve().parents:
        raise UserError(f"{where}: {path} is a link to {path.resolve()}, wanted a file inside {home}")
    return path


def find(module: str) -> Path | None:
    """The file of a module `plugins.mine`, or None where there is none that may be used."""
    try:
        return path_of(module) if "." in module else None
    except UserError:
        return None


def load(name: str, where: str = "params.yaml") -> Any:
    """What `plugins.mine:Name` stands for; says on the standard error which file it loads.

    Raises:
        UserError: see `path_of`; or the file fails to be imported, or has no such name.
    """
    found = _FORM.fullmatch(name)
    if found is None:
        raise UserError(
            f"{where}: given {name!r}, wanted {PACKAGE}.FILE:NAME, a name in a file of the folder {PACKAGE}"
        )
    module, attribute = f"{PACKAGE}{found[1]}", found[2]
    path = path_of(module, where)
    made = sys.modules.get(module) or _imported(module, path, where)
    if not hasattr(made, attribute):
        raise UserError(f"{where}: {path} has no {attribute!r}")
    return getattr(made, attribute)


def _imported(module: str, path: Path, where: str) -> ModuleType:
    """Import a plugin below a package `plugins` whose only folder is the allowed one."""
    package = sys.modules.get(PACKAGE)
    root = str(path.parents[module.count(".") - 1])
    if package is None or list(getattr(package, "__path__", [])) != [root]:
        package = ModuleType(PACKAGE)
        package.__path__ = [root]
        sys.modules[PACKAGE] = package
    print(f"guidelab: plugin {module} ({path})", file=sys.stderr)
    try:
        return importlib.import_module(module)
    except Exception as error:  # of any kind: it is not our code
        raise UserError(f"{where}: {path} cannot be imported ({type(error).__name__}: {error})") from error


@cache
def installed(kind: str) -> dict[str, str]:
    """Names and targets `module:attribute` of a kind that installed packages provide (entry points `guidelab.<kind>`).

    Raises:
        UserError: two packages give one name to different code.
    """
    found: dict[str, str] = {}
    for point in metadata.entry_points(group=f"guidelab.{kind}"):
        if found.setdefault(point.name, point.value) != point.value:
            raise UserError(
                f"installed packages: two give the entry point guidelab.{kind} the name {point.name!r}, for "
                f"{found[point.name]} and {point.value}; uninstall one of them"
            )
    return found


def version_of(module: str) -> str:
    """What identifies the code of an installed package: its name, version and the content of the module's file."""
    top = module.split(".")[0]
    names = metadata.packages_distributions().get(top, [top])
    version = metadata.version(names[0]) if names else ""
    found, folders = None, None
    for depth in range(1, module.count(".") + 2):
        found = PathFinder.find_spec(".".join(module.split(".")[:depth]), folders)
        folders = found.submodule_search_locations if found else None
    origin = found.origin if found else None
    return f"{names[0]} {version} {Path(origin).read_text(encoding='utf-8') if origin else ''}"


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
