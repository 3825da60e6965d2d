"""The code digest of a job: a hash of all code it can reach, so that it reruns exactly when that code changes.

A job reaches the module of its command, the modules its part of params.yaml names through the registries, and
all their imports. Modules are read and parsed, never imported. What cannot change a number is left out:
comments, docstrings, formatting, the order of imports, the words of error messages, imports for type checkers.
Two more rules keep the reach narrow:

* a package whose `__init__.py` only re-exports names is looked through: `from guidelab.core.guidance import
  Interval` reaches interval.py, not its neighbours;
* of the tables of the registry, a job sees only the entries that lead to modules it reaches anyway, so that a new
  method changes no job that does not use it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from guidelab.digest.syntax import Module, sha256
from guidelab.errors import UserError
from guidelab.registry import plugins

PACKAGE = "guidelab"
_NO_NUMBERS = {  # modules that are in no digest, and why
    PACKAGE: "lists what `import guidelab` gives; jobs import modules by their full names (tests/unit/test_architecture.py)",
    f"{PACKAGE}.errors": "what it holds ends up on a screen",
    f"{PACKAGE}.train.stop": "an exception that ends a process; the training resumes from its saved state",
    f"{PACKAGE}.train.curves": "writes curves to watch below logs/; nothing reads them back",
    f"{PACKAGE}.registry.plugins": "finds and imports plugins; the digest holds the file of each by itself",
    f"{PACKAGE}.registry.plugin_checks": "refuses plugins of another kind; what they are is in their files",
    f"{PACKAGE}.environment": "reads numbers that a user gives a process; they are in no payload and no result",
    f"{PACKAGE}.compute.device": "where a job computes, not how, and a message; the arithmetic is in compute.precision",
    f"{PACKAGE}.compute.processes": "which of several processes this one is; what each computes follows from seeds",
    f"{PACKAGE}.train.state": "where a training keeps its state; its content decides, not its place",
}


def code_digest(entry: str, extra: Sequence[str] = (), root: Path | None = None) -> str:
    """Digest of all code that the job of a command can reach.

    Args:
        entry: the command; its module is `guidelab.jobs.<entry>`.
        extra: modules the job's part of the spec names through the registries.
        root: folder of the package; the installed one by default.
    Returns:
        The first 16 hex digits of a sha256, the same on every machine and Python version.
    Raises:
        UserError: a module is absent or is not valid Python.
    """
    return _tree(root).digest(entry, tuple(extra))


def covered() -> dict[str, tuple[str, ...]]:
    """Every digest of the installed package that this process has computed, with its command and extra modules."""
    return {code: (entry, *extra) for (entry, extra), code in _tree(None).digests.items()}


def content() -> str:
    """The sha256 of all files of the installed package, taken before this process computed a digest of them."""
    return _tree(None).content


def reachable(entry: str, extra: Sequence[str] = (), root: Path | None = None) -> list[str]:
    """The names of all modules `code_digest` covers, sorted.

    Raises:
        UserError: a module is absent or is not valid Python.
    """
    return sorted(_tree(root).closure([f"{PACKAGE}.jobs.{entry}", *extra]))


def _tree(root: Path | None) -> "Tree":
    return _cached_tree(root)


@cache
def _cached_tree(root: Path | None) -> "Tree":
    return Tree(root or Path(__file__).parents[1])


class Tree:
    """The modules of a package on disk, each read and parsed once."""

    def __init__(self, root: Path):
        self.root = root
        self.content = _content(root)  # first: an edit from now on makes it another
        self._modules: dict[str, Module] = {}
        self.digests: dict[tuple[str, tuple[str, ...]], str] = {}
        self._paths: dict[str, Path | None] = {}

    def digest(self, entry: str, extra: tuple[str, ...]) -> str:
        """See `code_digest`."""
        key = (entry, extra)
        if key not in self.digests:
            reached = self.closure([f"{PACKAGE}.jobs.{entry}", *extra])
            lines = [f"{name} {self._fingerprint(name, reached)}" for name in sorted(reached)]
            self.digests[key] = sha256("\n".join(lines))[:16]
        return self.digests[key]

    def _fingerprint(self, name: str, reached: set[str]) -> str:
        return self.module(name).fingerprint(reached) if _is_read(name) else sha256(plugins.version_of(name))

    def closure(self, names: Iterable[str]) -> set[str]:
        """The modules reached from some, themselves included."""
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in reached or name in _NO_NUMBERS:
                continue
            if not _is_read(name):
                reached.add(name)  # of an installed package: identified by version and file
            elif not self._path(name):
                raise UserError(
                    f"{name}: a job needs this module, but {self.root} has none. Write it, or take its name from the registry."
                )
            else:
                module = self.module(name)
                reached |= set() if module.is_empty else {name}
                todo += self._imports(module)
        return reached

    def module(self, name: str) -> "Module":
        """A module, parsed."""
        if name not in self._modules:
            path = self._path(name)
            assert path is not None  # callers have looked
            self._modules[name] = Module(name, path)
        return self._modules[name]

    def _path(self, name: str) -> Path | None:
        if not _is_read(name):
            return None
        if name.split(".")[0] == plugins.PACKAGE:
            return plugins.find(name)
        if name not in self._paths:
            stem = self.root.joinpath(*name.split(".")[1:])
            found = (p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file())
            self._paths[name] = next(found, None)
        return self._paths[name]

    def _imports(self, module: "Module") -> Iterator[str]:
        """The modules a module brings in, with the packages on the way to each."""
        for base, name in module.imports:
            if not _is_read(base):
                continue
            parts = base.split(".")
            for depth in range(1, len(parts)):
                yield from self._on_the_way(".".join(parts[:depth]))
            yield from self._named(base, name)

    def _on_the_way(self, package: str) -> Iterator[str]:
        """A package that code only passes through counts when it does more than re-export."""
        if self._path(package) and not self.module(package).is_facade:
            yield package

    def _named(self, base: str, name: str) -> Iterator[str]:
        """What `from base import name` reaches; an empty name stands for `import base`."""
        submodule = f"{base}.{name}"
        if name and self._path(submodule):
            yield from (*self._on_the_way(base), submodule)
        elif name and self._path(base) and self.module(base).is_facade:
            sources = [source for source, exported in self.module(base).imports if exported == name]
            for source in sources:
                yield from self._named(source, name)
            if not sources:  # renamed on the way: follow all of them
                yield base
        else:
            yield base


def _content(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _is_read(module: str) -> bool:  # followed: the package's own code, and the files in plugins/
    return module.split(".")[0] in (PACKAGE, plugins.PACKAGE)
