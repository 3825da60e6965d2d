"""params.yaml -> Spec: `extends`, smoke copies, and all mistakes at once."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from guidelab.errors import UserError, closest
from guidelab.registry import plugins
from guidelab.spec import walk
from guidelab.spec.describe import Described
from guidelab.spec.experiment import Experiment, Spec
from guidelab.spec.mistakes import refuse, repeated, shown, unknown
from guidelab.spec.reading import read_yaml
from guidelab.spec.shrink import shrink

_MOST = 256  # experiments of one file; each is a few hundred kilobytes once it is read


def load_spec(path: str | Path = "params.yaml") -> Spec:
    """Read, resolve and check a params.yaml.

    Raises:
        UserError: every mistake, one a line: file, place, what was given, what was wanted, closest name.
    """
    plugins.use(path)
    return spec_of(read_yaml(path), str(path))


def spec_of(raw: dict[str, Any], path: str) -> Spec:
    """The spec in the plain content of a params.yaml, checked.

    Raises:
        UserError: as `load_spec`.
    """
    written = raw.get("experiments")
    if not isinstance(written, dict):
        return _whole(raw, path, [])
    if len(written) > _MOST:
        refuse(path, [f"experiments: given {len(written)} experiments, wanted at most {_MOST} in one file"])
    known: dict[str, Any] = {name: base for name, base in bases().items() if name not in written}
    experiments: dict[str, Any] = {}
    mistakes: list[Any] = []
    for name in written:
        try:
            experiments[name] = _typed(name, _sized(name, written, known))
        except UserError as error:
            mistakes.append(error)
        except ValidationError as error:
            mistakes += [Described(e, ("experiments", name)) for e in _errors(error)]
    for name, experiment in experiments.items():
        mistakes += [_Placed(name, problem) for problem in walk.problems(experiment)]
    return _whole({**raw, "experiments": experiments}, path, mistakes, list(written))


@cache
def bases() -> dict[str, Any]:
    """The experiments that any parameters file may extend."""
    return read_yaml(Path(__file__).with_name("bases.yaml"))


def remarks(spec: Spec) -> Iterator[str]:
    """What is allowed and worth a look, one line each."""
    for name, experiment in spec.experiments.items():
        if experiment.scale != "smoke":
            yield from (f"experiments.{name}.{remark}" for remark in walk.remarks(experiment))


class _Placed:
    """A mistake of an experiment, with its name before the place."""

    def __init__(self, name: str, problem: Any) -> None:
        self._name, self._problem = name, problem

    def __str__(self) -> str:
        text = str(self._problem)
        return f"experiments.{self._name}{'' if text.startswith(':') else '.'}{text}"  # `:` is the experiment itself


def _whole(raw: dict[str, Any], path: str, mistakes: list[Any], names: list[str] | None = None) -> Spec:
    """The spec of experiments that are parsed already; all mistakes are reported together."""
    found: list[Any] = []
    spec = None
    try:
        spec = Spec.model_validate(raw)
    except ValidationError as error:
        empty = names and not raw["experiments"]  # all of them have mistakes of their own
        found = [Described(e) for e in _errors(error) if not (empty and e["loc"] == ("experiments",))]
    default = raw.get("default")
    listed = names or list(raw["experiments"]) if isinstance(raw.get("experiments"), dict) else []
    if isinstance(default, list) and len(default) <= _MOST:
        given = [name for name in default if isinstance(name, str)]
        found += repeated("default", given)
        found += filter(None, (unknown("default", name, "an experiment", listed) for name in given if listed))
    refuse(path, [*found, *mistakes])
    assert spec is not None  # or there was a mistake
    return spec


def _errors(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_context=False))


def _typed(name: str, raw: Any) -> Experiment:
    experiment = Experiment.model_validate(raw)
    experiment._name = name
    return experiment


def merge(base: Any, change: Any) -> Any:
    """`change` over `base`: mappings merge key by key, null removes an entry, anything else replaces it."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    merged = {key: merge(base.get(key), value) for key, value in change.items() if value is not None}
    return {key: merged.get(key, value) for key, value in base.items() if change.get(key, 0) is not None} | {
        key: value for key, value in merged.items() if key not in base
    }


def _resolve(name: str, raw: dict[str, Any], known: dict[str, Any]) -> Any:
    """One experiment with its `extends` chain applied; `known` keeps those that are resolved.

    Raises:
        UserError: the chain names no experiment, or goes in a circle.
    """
    trail = [name]
    while trail[-1] not in known:
        own = raw[trail[-1]]
        if not isinstance(own, dict) or "extends" not in own:
            known[trail[-1]] = own
            break
        base = own["extends"]
        if not isinstance(base, str) or (base not in raw and base not in known):
            names = list(dict.fromkeys((*raw, *bases())))
            raise UserError(
                f"experiments.{trail[-1]}.extends: given {shown(base)}, wanted an experiment{closest(str(base), names)}"
            )
        if base in trail:
            circle = " -> ".join((*trail, base)) if len(trail) < 8 else f"{len(trail)} experiments"
            raise UserError(f"experiments.{name}.extends goes in a circle: {circle}")
        trail.append(base)
    for one, base in zip(reversed(trail[:-1]), reversed(trail[1:]), strict=True):
        known[one] = _over(known[base], {k: v for k, v in raw[one].items() if k != "extends"}, base)
    return known[name]


def _over(base: Any, own: dict[str, Any], of: str) -> Any:
    """An experiment over the one it extends; the published rows it inherits stay those of that one."""
    made = merge(base, own)
    paper = made.get("paper") if isinstance(made, dict) else None
    inherited = base.get("paper") if isinstance(base, dict) else None
    if not (isinstance(paper, dict) and isinstance(inherited, dict)):
        return made
    if paper.get("published") and inherited.get("published") and "published_experiment" not in paper:
        made["paper"] = paper | {"published_experiment": of}
    return made


def _sized(name: str, raw: dict[str, Any], known: dict[str, Any]) -> Any:
    """One experiment, complete; at the scale `smoke` shrunk as a whole, with what it says itself on top."""
    found, own = _resolve(name, raw, known), raw[name]
    if not isinstance(found, dict) or found.get("scale") != "smoke":
        return found
    of = own["extends"] if isinstance(own, dict) and "extends" in own else name
    return shrink(found, str(of))
