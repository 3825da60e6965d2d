"""params.yaml -> Spec: reading without trust, `extends`, and errors that say where, given, wanted, closest."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from guidelab import registry
from guidelab.errors import UserError, closest
from guidelab.nearest import grouped
from guidelab.smoke import shrink
from guidelab.spec import Experiment, Spec
from guidelab.spec.base import UNION
from guidelab.speccheck import check

_MAX_BYTES = 1_000_000  # a params.yaml is text typed by people; anything larger is a mistake


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what silently changes meaning: repeated keys, and aliases (which can explode)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None,
                None,
                "aliases (*name) are not allowed; use `extends:` to share settings",
                event.start_mark,
            )
        return super().compose_node(parent, index)  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key!r} is a {type(key).__name__}, wanted text; put it in quotes",
                    key_node.start_mark,
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The plain content of a YAML file.

    Raises:
        UserError: missing, too large, not YAML, repeated keys, aliases, or not a mapping.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(
            f"{source}: no such file; wanted the parameters. Run in the project's folder or pass --params."
        )
    if source.stat().st_size > _MAX_BYTES:
        raise UserError(
            f"{source}: {source.stat().st_size} bytes; wanted at most {_MAX_BYTES}. Is this the right file?"
        )
    try:
        content = yaml.load(source.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{source}{place}: {getattr(error, 'problem', None) or error}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{source}: cannot be read as YAML ({error})") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{source}: holds {type(content).__name__}, wanted a mapping with `default` and `experiments`"
        )
    return content


def merge(base: Any, change: Any) -> Any:
    """`change` over `base`: mappings merge key by key, null removes an entry, anything else replaces it."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    merged = {key: merge(base.get(key), value) for key, value in change.items() if value is not None}
    return {key: merged.get(key, value) for key, value in base.items() if change.get(key, 0) is not None} | {
        key: value for key, value in merged.items() if key not in base
    }


def _resolve(name: str, raw: dict[str, Any], where: str, trail: tuple[str, ...] = ()) -> dict[str, Any]:
    """One experiment with its `extends` chain applied."""
    if name in trail:
        raise UserError(
            f"{where}: experiments.{trail[0]}.extends goes in a circle: {' -> '.join((*trail, name))}"
        )
    if name not in raw:
        near = difflib.get_close_matches(name, list(raw), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"{where}: experiments.{trail[-1]}.extends: given {name!r}, wanted an experiment{hint}"
        )
    own = raw[name]
    if not isinstance(own, dict) or "extends" not in own:
        return own  # type: ignore[no-any-return]
    base = _resolve(str(own["extends"]), raw, where, (*trail, name))
    return merge(base, {key: value for key, value in own.items() if key != "extends"})  # type: ignore[no-any-return]


def _sized(name: str, raw: dict[str, Any], where: str) -> dict[str, Any]:
    """One experiment, complete; at the scale `smoke` shrunk as a whole, with what it says itself on top."""
    found, own = _resolve(name, raw, where), raw[name]
    if not isinstance(found, dict) or found.get("scale") != "smoke":
        return found
    of = own["extends"] if isinstance(own, dict) and "extends" in own else name
    return shrink(found, str(of))


def _model_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys known at a place of the spec, for the closest-name hint."""
    model: Any = Spec
    for part, following in zip(location, (*location[1:], ""), strict=True):
        fields = getattr(model, "model_fields", None)
        if fields is not None and part in fields:
            model = fields[part].annotation
        if str(part).startswith(UNION):
            model = _tagged(model, str(part)) or model
        elif str(following).startswith(UNION):
            continue  # the next part chooses among the classes of a union
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            inner = [
                a
                for a in getattr(model, "__args__", ())
                if getattr(a, "__args__", None) or isinstance(a, type)
            ]
            inner = [a for a in inner if a not in (str, int, float, type(None))] or [None]
            model = inner[-1]
            if model is None:
                return []
    return list(model.model_fields)


def _tagged(model: Any, tag: str) -> Any:
    """The class of a union that goes by a tag, or None."""
    for inner in getattr(model, "__args__", ()):
        if any(getattr(mark, "tag", None) == tag for mark in getattr(inner, "__metadata__", ())):
            return inner.__origin__
        found = _tagged(inner, tag)
        if found is not None:
            return found
    return None


def _describe(error: Any) -> str:
    """One pydantic error as `where: given, wanted, closest`."""
    path = ".".join(str(p) for p in error["loc"] if not str(p).startswith(UNION))
    if error["type"] == "extra_forbidden":
        known = _model_at(tuple(error["loc"][:-1]))
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{path}: unknown key; wanted one of {', '.join(known)}{hint}"
    if error["type"] == "union_tag_not_found":
        known = list(registry.NETS)
        given = error["input"].get("name") if isinstance(error.get("input"), dict) else error.get("input")
        return f"{path}.name: given {given!r}, wanted one of {', '.join(known)}{closest(str(given), known)}"
    if error["type"] == "missing":
        return f"{path}: is missing; wanted a value"
    given = error.get("input")
    hint = (
        " (write 1.0e-2, with a dot: YAML reads 1e-2 as text)"
        if isinstance(given, str) and re.match(r"[\d.]+e", given)
        else ""
    )
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    shown = "" if error["type"] == "value_error" else f"given {given!r}, wanted "
    return f"{path}: {shown}{message}{hint}"


def load_spec(path: str | Path = "params.yaml") -> Spec:
    """Read, resolve and check a params.yaml.

    Raises:
        UserError: every mistake found, one a line: file, place, what was given, what was wanted, closest name.
    """
    raw = read_yaml(path)
    experiments = raw.get("experiments")
    if isinstance(experiments, dict):
        resolved = {name: _sized(name, experiments, str(path)) for name in experiments}
        raw = {**raw, "experiments": resolved}
    try:
        spec = Spec.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_describe(e)}" for e in error.errors())) from error
    problems = check(spec)
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in grouped(problems)))
    return spec


def json_schema() -> dict[str, Any]:
    """The JSON Schema of params.yaml, for editors; entries that `extends` another may leave keys out."""
    schema = Spec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "guidelab params.yaml"
    partial = {"type": "object", "required": ["extends"], "properties": {"extends": {"type": "string"}}}
    full = {"$ref": f"#/$defs/{Experiment.__name__}"}
    found = schema["properties"]["experiments"]
    pattern = next(iter(found["patternProperties"]))
    found["patternProperties"][pattern] = {"anyOf": [full, partial]}
    return schema
