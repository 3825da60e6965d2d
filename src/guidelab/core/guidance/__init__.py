"""Guidance methods, one per file: each wraps a denoiser in a denoiser, so samplers need no case for guidance."""

from guidelab.core.guidance.compose import Correction, Guided
from guidelab.core.guidance.interval import Interval
from guidelab.core.guidance.potential import Potential
from guidelab.core.guidance.reference import Reference, truncation
from guidelab.core.guidance.term import Term

__all__ = ["Correction", "Guided", "Interval", "Potential", "Reference", "Term", "truncation"]
