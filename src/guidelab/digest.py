"""The digest of the code a job can reach: what makes a job run again when its code changes, and only then.

A job reaches the module of its command, the modules its part of params.yaml names through the registries, and
whatever these import. Modules are read and parsed, never imported. What cannot change a number is left out:
comments, docstrings, formatting, the order of imports, the words of error messages, imports for type checkers.
Two more rules keep the reach narrow:

* a package whose `__init__.py` only re-exports names is looked through: `from guidelab.core.guidance import
  Interval` reaches interval.py, not its neighbours;
* of the tables in registry.py, a job sees only the entries that lead to modules it reaches anyway, so that a new
  method changes no job that does not use it.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

from guidelab import plugins
from guidelab.errors import UserError

PACKAGE = "guidelab"
_REGISTRY = f"{PACKAGE}.registry"
_NO_NUMBERS = {  # modules that are in no digest, and why
    f"{PACKAGE}.errors": "what it holds ends up on a screen",
    f"{PACKAGE}.train.stop": "an exception that ends a process; the training goes on from its saved state",
    f"{PACKAGE}.train.image_curves": "writes curves to watch below logs/; nothing reads them back",
}
_SKIPPED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}


def code_digest(entry: str, extra: Sequence[str] = (), root: Path | None = None) -> str:
    """Digest of all code that the job of a command can reach.

    Args:
        entry: the command; its module is `guidelab.cli.<entry>`.
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


def reachable(entry: str, extra: Sequence[str] = (), root: Path | None = None) -> list[str]:
    """The names of all modules `code_digest` covers, sorted.

    Raises:
        UserError: a module is absent or is not valid Python.
    """
    return sorted(_tree(root).closure([f"{PACKAGE}.cli.{entry}", *extra]))


def _tree(root: Path | None) -> "Tree":
    return _cached_tree(root)


@cache
def _cached_tree(root: Path | None) -> "Tree":
    return Tree(root or Path(__file__).parent)


class Tree:
    """The modules of a package on disk, each read and parsed once."""

    def __init__(self, root: Path):
        self.root = root
        self._modules: dict[str, Module] = {}
        self.digests: dict[tuple[str, tuple[str, ...]], str] = {}
        self._paths: dict[str, Path | None] = {}

    def digest(self, entry: str, extra: tuple[str, ...]) -> str:
        """See `code_digest`."""
        key = (entry, extra)
        if key not in self.digests:
            reached = self.closure([f"{PACKAGE}.cli.{entry}", *extra])
            lines = [f"{name} {self._fingerprint(name, reached)}" for name in sorted(reached)]
            self.digests[key] = _sha256("\n".join(lines))[:16]
        return self.digests[key]

    def _fingerprint(self, name: str, reached: set[str]) -> str:
        return self.module(name).fingerprint(reached) if _is_read(name) else _sha256(plugins.version_of(name))

    def closure(self, names: Iterable[str]) -> set[str]:
        """The modules reached from some, themselves included."""
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in reached or name in _NO_NUMBERS:
                continue
            if not _is_read(name):
                reached.add(name)  # of an installed package: its version and its file stand for it
            elif not self._path(name):
                raise UserError(
                    f"{name}: a job needs this module, but {self.root} has none. Write it, or take its name from registry.py."
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


class Module:
    """One parsed module: its imports, and a fingerprint of what it does."""

    def __init__(self, name: str, path: Path):
        self.name = name
        self._is_package = path.name == "__init__.py"
        try:
            tree = ast.parse(path.read_bytes(), filename=str(path))
        except SyntaxError as error:
            raise UserError(f"{path}, line {error.lineno}: is not valid Python ({error.msg})") from error
        self._body = [s for s in tree.body if not _is_bookkeeping(s)]
        self.imports: list[tuple[str, str]] = sorted(set(self._find_imports(self._body)))

    @property
    def is_empty(self) -> bool:
        """Nothing but a docstring and names such as `__version__`."""
        return not self._body

    @property
    def is_facade(self) -> bool:
        """A package that only re-exports: importing it does nothing else."""
        return self._is_package and all(isinstance(s, ast.ImportFrom) for s in self._body)

    def fingerprint(self, reached: set[str]) -> str:
        """sha256 of the normalised syntax tree; of registry.py, only with the entries that lead to `reached`."""
        if self.name != _REGISTRY:
            return self._fingerprint
        kept = [s for s in self._body if not _is_table(s)]
        entries = [e for s in self._body if _is_table(s) for e in _table_entries(s, reached)]
        return _sha256(_canonical([*kept, *entries]))

    @cached_property
    def _fingerprint(self) -> str:
        return _sha256(_canonical(self._body))

    def _find_imports(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield from ((base, "" if alias.name == "*" else alias.name) for alias in node.names)
            elif isinstance(node, ast.Call) and _name_of(node.func) == "import_module":
                yield from ((a.value, "") for a in node.args[:1] if _is_text(a))  # type: ignore[attr-defined]
            if not _for_type_checkers(node):
                yield from self._find_imports(ast.iter_child_nodes(node))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        up = node.level - 1 if self._is_package else node.level
        return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])


def _is_read(module: str) -> bool:  # followed: the package's own code, and the files in plugins/
    return module.split(".")[0] in (PACKAGE, plugins.PACKAGE)


def _canonical(body: Sequence[ast.AST]) -> str:
    """Syntax trees as text that any Python version writes alike: absent and empty fields are left out."""
    out: list[str] = []
    imports: set[str] = set()

    def visit(value: object) -> None:
        if isinstance(value, ast.Import | ast.ImportFrom):
            base = "." * getattr(value, "level", 0) + (getattr(value, "module", None) or "")
            imports.update(f"{base}:{alias.name}:{alias.asname or ''}" for alias in value.names)
        elif isinstance(value, list):
            for item in value:
                before = len(out)
                visit(item)
                if len(out) > before:
                    out.append(",")
        elif not isinstance(value, ast.AST):
            out.append(f"{type(value).__name__} {value!r}")
        elif not (_is_words(value) or _for_type_checkers(value)):
            out.append(f"{type(value).__name__}(")
            for field in value._fields:
                content = getattr(value, field, None)
                if content is None and not isinstance(value, ast.Constant):
                    continue
                if content == [] or field in _SKIPPED_FIELDS:
                    continue
                out.append(f"{field}=")
                if field == "exc" and isinstance(value, ast.Raise) and isinstance(content, ast.Call):
                    content = content.func  # the words of an error decide no number
                visit(content)
                out.append(";")
            out.append(")")

    visit(list(body))
    return "".join(out) + "\n" + "\n".join(sorted(imports))


def _is_words(node: ast.AST) -> bool:
    """A docstring, or another text that stands alone."""
    return isinstance(node, ast.Expr) and _is_text(node.value)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_bookkeeping(node: ast.AST) -> bool:
    """A docstring, or an assignment to names such as `__all__` and `__version__`."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    names = [_name_of(t) for t in targets]
    return _is_words(node) or bool(names and all(n.startswith("__") and n.endswith("__") for n in names))


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _name_of(node.test) == "TYPE_CHECKING"


def _name_of(node: ast.AST) -> str:
    return getattr(node, "attr", None) or getattr(node, "id", None) or ""


def _is_table(node: ast.AST) -> bool:
    """A table of the registry: a constant's name for a dict."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    value = _content(node)
    named = all(isinstance(t, ast.Name) and t.id.isupper() for t in targets)
    return (
        isinstance(node, ast.Assign | ast.AnnAssign) and named and isinstance(value, ast.Dict | ast.DictComp)
    )


def _content(table: ast.AST) -> ast.AST | None:
    """The dict of a table, also where it is the last argument of a call: `Table("guidance", {...})`."""
    value = getattr(table, "value", None)
    return value.args[-1] if isinstance(value, ast.Call) and value.args else value


def _table_entries(table: ast.AST, reached: set[str]) -> Iterator[ast.AST]:
    """The `key: value` pairs of a table whose value names a reached module; a comprehension counts as one pair."""
    value = _content(table)
    pairs = (
        list(zip(value.keys, value.values, strict=True)) if isinstance(value, ast.Dict) else [(None, value)]
    )
    for key, content in pairs:
        texts = {n.value.split(":")[0] for n in ast.walk(content) if _is_text(n)}  # type: ignore[attr-defined, arg-type]
        if texts & reached:
            yield from filter(None, (key, content))  # type: ignore[misc]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
