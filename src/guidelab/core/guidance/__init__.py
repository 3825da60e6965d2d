"""Guidance: denoisers that wrap denoisers. One file per method; the sampler does not know the word."""

from guidelab.core.guidance.compose import Correction, Guided
from guidelab.core.guidance.interval import Interval
from guidelab.core.guidance.potential import Potential
from guidelab.core.guidance.reference import Reference, truncation
from guidelab.core.guidance.term import Term

__all__ = ["Correction", "Guided", "Interval", "Potential", "Reference", "Term", "truncation"]
