"""guidelab: trains, guides, samples and measures diffusion models, with a trail for every number.

`import guidelab` is quick: a name is imported when it is used. docs/library.md shows all of them at work; they are
collected in `guidelab.api`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guidelab.api import Chain as Chain
    from guidelab.api import Churn as Churn
    from guidelab.api import Correction as Correction
    from guidelab.api import Denoiser as Denoiser
    from guidelab.api import Guided as Guided
    from guidelab.api import Independent as Independent
    from guidelab.api import Interval as Interval
    from guidelab.api import Net as Net
    from guidelab.api import Potential as Potential
    from guidelab.api import Projected as Projected
    from guidelab.api import Reference as Reference
    from guidelab.api import Samples as Samples
    from guidelab.api import SeededNoise as SeededNoise
    from guidelab.api import Term as Term
    from guidelab.api import UserError as UserError
    from guidelab.api import Value as Value
    from guidelab.api import build_net as build_net
    from guidelab.api import classifier as classifier
    from guidelab.api import ddim as ddim
    from guidelab.api import ddpm as ddpm
    from guidelab.api import denoiser as denoiser
    from guidelab.api import diffusers_guider as diffusers_guider
    from guidelab.api import divergences as divergences
    from guidelab.api import edm_sigmas as edm_sigmas
    from guidelab.api import evaluate as evaluate
    from guidelab.api import extractor as extractor
    from guidelab.api import frechet as frechet
    from guidelab.api import from_diffusers as from_diffusers
    from guidelab.api import grade as grade
    from guidelab.api import heun as heun
    from guidelab.api import inception_score as inception_score
    from guidelab.api import kid as kid
    from guidelab.api import load_denoiser as load_denoiser
    from guidelab.api import log_ratios as log_ratios
    from guidelab.api import manifold as manifold
    from guidelab.api import respaced as respaced
    from guidelab.api import results as results
    from guidelab.api import sample as sample
    from guidelab.api import schedule_of as schedule_of
    from guidelab.api import to_uint8 as to_uint8
    from guidelab.api import train_discriminator as train_discriminator
    from guidelab.api import truncation as truncation

__version__ = "0.1.0"
__all__ = [
    "Chain", "Churn", "Correction", "Denoiser", "Guided", "Independent", "Interval", "Net", "Potential", "Projected",
    "Reference", "Samples", "SeededNoise", "Term", "UserError", "Value", "build_net", "classifier", "ddim", "ddpm",
    "denoiser", "diffusers_guider", "divergences", "edm_sigmas", "evaluate", "extractor", "frechet", "from_diffusers",
    "grade", "heun", "inception_score", "kid", "load_denoiser", "log_ratios", "manifold", "respaced", "results",
    "sample", "schedule_of", "to_uint8", "train_discriminator", "truncation",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use: commands and Snakefiles start without torch."""
    if name not in __all__:
        raise AttributeError(f"module 'guidelab' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module("guidelab.api"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
