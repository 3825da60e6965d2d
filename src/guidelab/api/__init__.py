"""The library interface of `import guidelab`: the functions of the jobs, for a caller's nets and tensors."""

from guidelab.api import results
from guidelab.api.denoisers import Net, build_net, denoiser, load_denoiser
from guidelab.api.diffusers import diffusers_guider, from_diffusers
from guidelab.api.graders import train_discriminator
from guidelab.api.images import evaluate, extractor
from guidelab.api.samples import Samples, sample
from guidelab.core.chain import Chain, respaced, schedule_of
from guidelab.core.denoiser import Denoiser
from guidelab.core.guidance import Correction, Guided, Interval, Potential, Reference, Term, truncation
from guidelab.core.guidance.classifier import classifier
from guidelab.core.guidance.independent import Independent
from guidelab.core.guidance.projected import Projected
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers import Churn, heun
from guidelab.core.samplers.chain import ddim, ddpm
from guidelab.core.schedules import edm_sigmas
from guidelab.errors import UserError
from guidelab.metrics.class_scores import inception_score
from guidelab.metrics.divergence import divergences, log_ratios
from guidelab.metrics.frechet import frechet
from guidelab.metrics.grader import grade
from guidelab.metrics.kid import kid
from guidelab.metrics.manifold import manifold
from guidelab.metrics.value import Value
from guidelab.sampling.pixels import rounded as to_uint8

__all__ = [
    "Chain", "Churn", "Correction", "Denoiser", "Guided", "Independent", "Interval", "Net", "Potential", "Projected",
    "Reference", "Samples", "SeededNoise", "Term", "UserError", "Value", "build_net", "classifier", "ddim", "ddpm",
    "denoiser", "diffusers_guider", "divergences", "edm_sigmas", "evaluate", "extractor", "frechet", "from_diffusers",
    "grade", "heun", "inception_score", "kid", "load_denoiser", "log_ratios", "manifold", "respaced", "results",
    "sample", "schedule_of", "to_uint8", "train_discriminator", "truncation",
]  # fmt: skip
