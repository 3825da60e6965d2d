"""The ledger of accepted code changes: one file per acceptance, and the look-up of a recorded job in it.

`guidelab accept` writes it after replaying jobs with the old and the new code. A record keeps the parameters that ran; with a
valid ledger file, Snakemake is shown the same parameters with the accepted digest. A file that was edited, or that was written for
other records, changes nothing: the job then counts as outdated.
"""

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.provenance.disk import write_text

FORMAT = 1
_ABOUT = "Jobs replayed with the old and the new code by guidelab accept, and what came out. Not meant to be edited."
NO_TABLE: dict[str, Any] = {"keys": {}, "replaced": {}, "values": {}, "paths": {}}


def canonical(payload: Mapping[str, Any]) -> str:
    """A job's payload as Snakemake passes it."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"))


def payload_of(params: Sequence[str]) -> dict[str, Any]:
    """A job's payload from the parameters of its record; empty where they hold no such thing."""
    for text in params:
        try:
            found = json.loads(ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def sha256_of(content: Any) -> str:
    """Hex sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def translated(ran: Mapping[str, Any], table: Mapping[str, Any], code: str, rule: str = "") -> dict[str, Any]:
    """A payload with its keys renamed and its words replaced by a table, and another digest.

    Args:
        ran: the payload as recorded.
        table: `keys` maps dotted names to dotted names, or to None for a key that is dropped; `replaced` maps dotted names (as
            before the change) to old and new words; `values` maps dotted names of new keys to the value of old jobs without them.
            A star stands for one name: `runs.*.terms.*.stages`. A list counts as names 0, 1, ... `train:lr` holds for the
            rule `train` alone. `paths`: see `moved`.
        code: the digest to carry.
        rule: the rule of the job, as recorded.
    Raises:
        UserError: the new name of a key is that of another.
    """
    found: dict[str, Any] = json.loads(json.dumps(dict(ran)))
    for old, words in _of_rule(table, "replaced", rule):
        above, name = _split(old)
        for part in _parts(found, above):
            if isinstance(part.get(name), str):
                part[name] = words.get(part[name], part[name])
    for old, new in _of_rule(table, "keys", rule):
        above, name = _split(old)
        if new is not None and _split(new)[0] != above:
            raise UserError(
                f"--table: keys: {old!r} -> {new!r}: wanted a new name at the same place: {'.'.join([*above, 'name'])}"
            )
        for part in _parts(found, above):
            if name in part:
                value = part.pop(name)
                if new is not None and _split(new)[1] in part:
                    raise UserError(
                        f"--table: keys: {old}: the old payloads hold {name} and {_split(new)[1]}; wanted a new name"
                    )
                if new is not None:
                    part[_split(new)[1]] = value
    for new, value in _of_rule(table, "values", rule):
        above, name = _split(new)
        for part in _parts(found, above):
            part.setdefault(name, value)
    return {**_moved_inside(found, table), "code": code}


def moved(path: str, table: Mapping[str, Any]) -> str:
    """The new name of a file by a table's `paths`: old patterns to new ones, in which stars stand for the same parts of names."""
    for old, new in (table.get("paths") or {}).items():
        if found := re.fullmatch(re.escape(old).replace(r"\*", "([^/]*)"), path):
            parts = iter(found.groups())
            return "".join(next(parts) if piece == "*" else piece for piece in re.split(r"(\*)", new))
    return path


def _moved_inside(content: Any, table: Mapping[str, Any]) -> Any:
    if isinstance(content, dict):
        return {key: _moved_inside(value, table) for key, value in content.items()}
    if isinstance(content, list):
        return [_moved_inside(value, table) for value in content]
    return moved(content, table) if isinstance(content, str) else content


def _of_rule(table: Mapping[str, Any], key: str, rule: str) -> list[tuple[str, Any]]:
    """The lines of one part of a table that hold for a rule, names without the rule."""
    lines = [(*name.rpartition(":")[::2], value) for name, value in table.get(key, {}).items()]
    return [(name, value) for only, name, value in lines if only in ("", rule)]


def _split(name: str) -> tuple[list[str], str]:
    *above, last = name.split(".")
    return above, last


def _parts(content: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """The mappings that dotted names lead to."""
    level = [content]
    for name in names:
        below: list[Any] = []
        for part in level:
            items = dict(enumerate(part)) if isinstance(part, list) else part
            if isinstance(items, dict):
                below += [v for k, v in items.items() if name in ("*", str(k))]
        level = below
    return [part for part in level if isinstance(part, dict)]


# ---- files -------------------------------------------------------------------------------------------------------


def folder(root: Path, experiment: str) -> Path:
    """Where the ledger files of an experiment lie."""
    return root / "results" / experiment / "accepted"


def write(root: Path, experiment: str, content: Mapping[str, Any]) -> str:
    """Write a ledger file; its name is the start of its own hash.

    Returns:
        The name, without `.json`.
    """
    whole = {**content, "about": _ABOUT, "format": FORMAT, "experiment": experiment}
    sha = sha256_of(whole)
    text = json.dumps({**whole, "sha256": sha}, sort_keys=True, indent=1)
    write_text(folder(root, experiment) / f"{sha[:16]}.json", text + "\n")
    return sha[:16]


def read(root: Path, experiment: str, name: str) -> dict[str, Any]:
    """A ledger file, checked against its own hash.

    Raises:
        UserError: absent, unreadable, edited, or written for another experiment.
    """
    path = folder(root, experiment) / f"{name}.json"
    shown = path.relative_to(root).as_posix()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        given = {k: v for k, v in content.items() if k != "sha256"}
        sha, written = sha256_of(given), str(content["sha256"])
        described = content["format"], content["experiment"]
        jobs, table = content["jobs"], content["table"]
        whole = isinstance(jobs, dict) and isinstance(table, dict) and isinstance(content["previous"], list)
    except FileNotFoundError:
        raise UserError(
            f"{shown}: no such file; a record refers to it. Take it back with: git checkout -- {shown}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{shown}: is no ledger file ({type(error).__name__}: {error}); {_again(shown)}"
        ) from error
    if sha != written or name != sha[:16] or not whole:
        raise UserError(
            f"{shown}: was edited: its content has sha256 {sha[:16]}, its name says {name}; {_again(shown)}"
        )
    if described != (FORMAT, experiment):
        raise UserError(
            f"{shown}: is of format and experiment {described}, wanted {(FORMAT, experiment)}; {_again(shown)}"
        )
    return dict(content)


def _again(path: str) -> str:
    return f"ignored. Take it back with: git checkout -- {path}; without it, the jobs it speaks of have to run again"


def names(root: Path, experiment: str) -> list[str]:
    """The names of an experiment's ledger files, sorted."""
    return sorted(path.stem for path in folder(root, experiment).glob("*.json"))


def line(ran: Mapping[str, Any], now: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[str, Any]:
    """What a ledger file holds of a job: hashes of the payload that ran, of the accepted one and of the outputs."""
    codes = [ran.get("code"), now.get("code")]
    return {"code": codes, "ran": sha256_of(ran), "now": sha256_of(now), "outputs": sha256_of(dict(outputs))}


def accepted_record(
    ledger: Mapping[str, Any], record: Mapping[str, Any], code: str, outputs: Mapping[str, str]
) -> dict[str, Any]:
    """A record as an accepted change has it: other parameters, and, where that was declared, another shell line of its rule.

    Args:
        ledger: content of a ledger file.
        record: of the job, as it ran.
        code: the digest the record says was accepted.
        outputs: of the job, path to sha256.
    Raises:
        UserError: the ledger file does not speak of this very job.
    """
    first, params = min(outputs), record["params"]
    ran, found = payload_of(params), ledger["jobs"].get(first)
    if found is None:
        raise UserError(f"its ledger file says nothing of {first}")
    now = translated(ran, ledger["table"], code, str(record["rule"]))
    wanted = line(ran, now, outputs)
    apart = [key for key in ("ran", "outputs", "code", "now") if found.get(key) != wanted[key]]
    if apart:
        words = {
            "ran": "parameters that ran",
            "outputs": "files",
            "code": "digests",
            "now": "accepted parameters",
        }
        raise UserError(
            f"was written for a job with other {words[apart[0]]} than the one recorded for {first}"
        )
    shell = ledger.get("shell", {}).get(record["rule"], {})
    same = shell.get("ran") == record.get("code")
    new = [repr(canonical(now)) if payload_of([text]) else text for text in params]
    return {**record, "params": new, "code": shell["now"] if same else record.get("code")}
