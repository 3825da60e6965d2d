"""Strict YAML reader: no objects, aliases or tags; numbers in the syntax of YAML 1.2.

YAML 1.1 reads `0400` as 256, `1:30` as 90 and `yes` as true; here all three are text, which no number accepts.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from guidelab.errors import UserError, brief
from guidelab.spec.mistakes import shown

_MAX_BYTES = 1_000_000  # a params.yaml is text typed by people; anything larger is a mistake
_KINDS = {
    type(None): "nothing", bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping",
}  # fmt: skip
_DIGITS = "0123456789"
_SCALARS = {  # tag -> its form and first characters (YAML 1.2, core schema)
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", [*"-+", *_DIGITS]),
    "float": (
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        [*"-+.", *_DIGITS],
    ),
}


class _Loader(Composer, yaml.CSafeLoader):
    """SafeLoader that refuses what silently changes meaning: repeated keys, tags, and aliases (which can explode).

    libyaml's scanner takes a fifth of the time of the one in Python; nodes are composed in Python, where they can be refused.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, stream: str):
        yaml.CSafeLoader.__init__(self, stream)
        Composer.__init__(self)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases (*name) are not allowed; use `extends:` to share settings", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(
                f"could not determine a constructor for the tag {shown(event.tag)}: tags are not allowed",
                event,
            )
        return super().compose_node(parent, index)  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                raise _refused(
                    f"the key {shown(key)} is {_KINDS.get(type(key), 'no text')}, wanted text; put it in quotes",
                    key_node,
                )
            if key in seen:
                raise _refused(f"the key {shown(key)} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, (_form, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), _first)


def _refused(message: str, at: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, message, at.start_mark)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The plain content of a YAML file.

    Raises:
        UserError: missing, too large, not YAML, repeated keys, tags, aliases, or not a mapping.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(
            f"{source}: no such file; wanted the parameters. Run in the project's folder or pass --params."
        )
    try:
        if source.stat().st_size > _MAX_BYTES:
            raise UserError(
                f"{source}: {source.stat().st_size} bytes; wanted at most {_MAX_BYTES}. Is this the right file?"
            )
        content = yaml.load(source.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or brief(error)
        raise UserError(f"{source}{place}: {reason}") from error
    except (UnicodeDecodeError, RecursionError, ValueError, OSError) as error:
        raise UserError(f"{source}: cannot be read as YAML ({brief(error)})") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{source}: holds {_KINDS.get(type(content), 'a value')}, wanted a mapping with `default` and `experiments`"
        )
    return content
