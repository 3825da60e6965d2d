"""Load plugins: files in the folder plugins/ next to params.yaml, and entry points of installed packages.

Plugins are code and are run by design, so the places they come from are few: the folder `plugins` of the working tree
(`plugins.mine:Name` is `Name` in plugins/mine.py), and installed packages. With a params.yaml of another
folder its plugins are used only where `GUIDELAB_PLUGINS=1` says so. No other dotted name is ever imported.
"""

import importlib
import os
import re
import sys
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
_ELSEWHERE = "-"  # plugins of another folder, not allowed


def is_plugin(name: str) -> bool:
    """Whether a name has the form `plugins.FILE:NAME`."""
    return _FORM.fullmatch(name) is not None


def use(params: str | Path) -> None:
    """Use the plugins next to a params.yaml; jobs that this process starts do so too.

    Of another folder than the current one only where the variable `GUIDELAB_PLUGINS` is 1.
    """
    folder = Path(params).absolute().parent
    if folder.resolve() == Path.cwd().resolve():
        os.environ.pop(FOLDER, None)
    else:
        os.environ[FOLDER] = str(folder / PACKAGE) if os.environ.get(ALLOWED) == "1" else _ELSEWHERE


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
    """Load the object that `plugins.mine:Name` names; the loaded file is named on standard error.

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
