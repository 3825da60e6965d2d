"""The registry: names in params.yaml and the modules that implement them, one line for each."""

from guidelab.registry.data import DATASETS, DENSITIES, FACTS, FOLDS, TRUTHS
from guidelab.registry.evaluations import evaluations
from guidelab.registry.figures import FIELDS, FIGURES
from guidelab.registry.kinds import KINDS, described, entry, load, options_mistake
from guidelab.registry.measuring import DIVERGENCES, EXTRACTORS, IMAGE_METRICS, METRICS, REPRESENTATIONS
from guidelab.registry.nets import NETS
from guidelab.registry.sampling import ADDITIONS, CODECS, METHODS, SAMPLERS, SOURCES
from guidelab.registry.table import Entry, Table
from guidelab.registry.training import SIDES, TRAINERS

__all__ = [
    "ADDITIONS", "CODECS", "DATASETS", "DENSITIES", "DIVERGENCES", "EXTRACTORS", "FACTS", "FIELDS", "FIGURES", "FOLDS",
    "IMAGE_METRICS", "KINDS", "METHODS", "METRICS", "NETS", "REPRESENTATIONS", "SAMPLERS", "SIDES", "SOURCES",
    "TRAINERS", "TRUTHS", "Entry", "Table", "described", "entry", "evaluations", "load", "options_mistake",
]  # fmt: skip
