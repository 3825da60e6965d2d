"""One parsed module: what it imports, and a fingerprint of what it does."""

import ast
import gc
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from guidelab.errors import UserError

_REGISTRY = "guidelab.registry"
_SKIPPED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}


class Module:
    """One parsed module: its imports, and a fingerprint of what it does."""

    def __init__(self, name: str, path: Path):
        self.name = name
        self._is_package = path.name == "__init__.py"
        with _no_collection():
            body = [s for s in _parsed(path).body if not _is_bookkeeping(s)]
            self.imports: list[tuple[str, str]] = sorted(set(self._find_imports(body)))
            tables = [s for s in body if f"{name}.".startswith(f"{_REGISTRY}.") and _is_table(s)]
            self._pieces = [_piece(s) for s in body if s not in tables]
            self._entries = [(modules, _piece(e)) for s in tables for modules, e in _table_entries(s)]
        # nothing but a docstring and names such as `__version__`
        self.is_empty = not body
        # a package that only re-exports: importing it does nothing else
        self.is_facade = self._is_package and all(isinstance(s, ast.ImportFrom) for s in body)

    def fingerprint(self, reached: set[str]) -> str:
        """sha256 of the normalised syntax tree; of tables of the registry, only with the entries that lead to `reached`."""
        if not self._entries:
            return self._whole
        return _hashed([*self._pieces, *(piece for modules, piece in self._entries if modules & reached)])

    @cached_property
    def _whole(self) -> str:
        return _hashed(self._pieces)

    def _find_imports(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
        todo: list[object] = list(nodes)
        while todo:
            node = todo.pop()
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield from ((base, "" if alias.name == "*" else alias.name) for alias in node.names)
            elif isinstance(node, ast.Call) and _name_of(node.func) == "import_module":
                yield from ((a.value, "") for a in node.args[:1] if _is_text(a))  # type: ignore[attr-defined]
            if isinstance(node, ast.If) and _for_type_checkers(node):
                continue
            for field in getattr(node, "_fields", ()):  # a third of the time of ast.iter_child_nodes
                content = getattr(node, field, None)
                if type(content) is list:
                    todo += content
                elif isinstance(content, ast.AST):
                    todo.append(content)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        up = node.level - 1 if self._is_package else node.level
        return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: is not valid Python ({error.msg})") from error


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection, which triples the time of parsing and finds no cycle in a syntax tree."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _hashed(pieces: Iterable[tuple[str, set[str]]]) -> str:
    """sha256 of statements as text, and of what they import in any order."""
    kept = [*pieces]
    imports: set[str] = set().union(*(imported for _, imported in kept))
    return sha256("".join(f"{text}," for text, _ in kept if text) + "\n" + "\n".join(sorted(imports)))


def _piece(node: ast.AST) -> tuple[str, set[str]]:
    """A syntax tree as text that any Python version writes alike, and its imports: absent and empty fields are left out."""
    out: list[str] = []
    imports: set[str] = set()

    def visit(value: object) -> None:
        if isinstance(value, list):
            for item in value:
                before = len(out)
                visit(item)
                if len(out) > before:
                    out.append(",")
        elif not isinstance(value, ast.AST):
            out.append(f"{type(value).__name__} {value!r}")
        elif isinstance(value, ast.Import | ast.ImportFrom):
            base = "." * getattr(value, "level", 0) + (getattr(value, "module", None) or "")
            imports.update(f"{base}:{alias.name}:{alias.asname or ''}" for alias in value.names)
        elif not (_is_words(value) or _for_type_checkers(value)):
            kind = type(value)
            out.append(f"{kind.__name__}(")
            for field in value._fields:
                content = getattr(value, field, None)
                if (
                    (content is None and kind is not ast.Constant)
                    or content == []
                    or field in _SKIPPED_FIELDS
                ):
                    continue
                out.append(f"{field}=")
                if field == "exc" and kind is ast.Raise and isinstance(content, ast.Call):
                    content = content.func  # the words of an error decide no number
                visit(content)
                out.append(";")
            out.append(")")

    visit(node)
    return "".join(out), imports


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


def _table_entries(table: ast.AST) -> Iterator[tuple[set[str], ast.AST]]:
    """Keys and values of a table, each with the modules that the value names; a comprehension counts as one value."""
    value = _content(table)
    pairs = (
        list(zip(value.keys, value.values, strict=True)) if isinstance(value, ast.Dict) else [(None, value)]
    )
    for key, content in pairs:
        modules = {n.value.split(":")[0] for n in ast.walk(content) if _is_text(n)}  # type: ignore[attr-defined, arg-type]
        yield from ((modules, node) for node in (key, content) if node is not None)


def sha256(text: str) -> str:
    """Hex sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
