"""All registry tables by kind, and the look-ups used by the checks of params.yaml."""

from collections.abc import Mapping
from typing import Any

from guidelab.registry import plugin_checks
from guidelab.registry.data import DATASETS, DENSITIES, FACTS, FOLDS, TRUTHS
from guidelab.registry.figures import FIELDS, FIGURES
from guidelab.registry.measuring import DIVERGENCES, EXTRACTORS, IMAGE_METRICS, METRICS, REPRESENTATIONS
from guidelab.registry.nets import NETS
from guidelab.registry.sampling import ADDITIONS, CODECS, METHODS, SAMPLERS, SOURCES
from guidelab.registry.table import Entry, Table
from guidelab.registry.training import SIDES, TRAINERS

KINDS: dict[str, Table] = {
    "method": METHODS,
    "net": NETS,
    "trainer": TRAINERS,
    "dataset": DATASETS,
    "density": DENSITIES,
    "truth": TRUTHS,
    "facts": FACTS,
    "sampler": SAMPLERS,
    "addition": ADDITIONS,
    "codec": CODECS,
    "source": SOURCES,
    "metric": METRICS,
    "divergence": DIVERGENCES,
    "extractor": EXTRACTORS,
    "image metric": IMAGE_METRICS,
    "representation": REPRESENTATIONS,
    "sides": SIDES,
    "fold": FOLDS,
    "field": FIELDS,
    "figure": FIGURES,
}


def entry(kind: str, name: str, where: str = "params.yaml") -> Entry:
    """The entry of a registered name; see `Table.entry`."""
    return KINDS[kind].entry(name, where)


def load(kind: str, name: str) -> Any:
    """Import the object of a registered name."""
    return KINDS[kind].load(name)


def described(name: str) -> dict[str, Any] | None:
    """Label, direction, unit, digits, definition and group of a metric of a plugin; None of one that is built in."""
    if name in METRICS or name in IMAGE_METRICS:
        return None
    return plugin_checks.described(load("metric", name))


def options_mistake(kind: str, name: str, options: Mapping[str, Any], own: int = 0, **project: Any) -> str:
    """Why options do not fit the registered object; empty where they do. `own`, `project`: see `plugin_checks.mistakes`."""
    if name in KINDS[kind]:
        return "is built in and takes no options here"
    return plugin_checks.mistakes(load(kind, name), options, own, project)
