"""Guidance: denoisers that wrap denoisers. One file per method; the sampler does not know the word."""

from guidelab.core.guidance.compose import Correction, Guided, Term
from guidelab.core.guidance.interval import Interval
from guidelab.core.guidance.potential import Potential
from guidelab.core.guidance.reference import Reference, truncation

__all__ = ["Correction", "Guided", "Interval", "Potential", "Reference", "Term", "truncation"]
