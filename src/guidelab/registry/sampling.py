"""Registered guidance methods, samplers, their additions, and storage formats of samples."""

from guidelab.registry.table import Entry, Table

METHODS = Table("method", "guidance", {
    "reference": Entry("guidelab.core.guidance.reference:Reference", needs="ref", neutral=1.0),
    "truncation": Entry("guidelab.core.guidance.reference:truncation", needs="", neutral=1.0),
    "discriminator": Entry("guidelab.core.guidance.potential:Potential", needs="disc", neutral=0.0),
    "classifier": Entry("guidelab.core.guidance.classifier:classifier", needs="disc", neutral=0.0),
    "projected": Entry("guidelab.core.guidance.projected:Projected", needs="ref", neutral=1.0),
    "independent": Entry("guidelab.core.guidance.independent:Independent", needs="ref", neutral=1.0, itself=True),
})  # fmt: skip
SAMPLERS = Table("sampler", "sampler", {
    "heun": Entry("guidelab.sampling.continuous:Continuous", evaluations=(2, 1)),  # once in the step to 0
    "ddpm": Entry("guidelab.sampling.discrete:Ddpm", needs="chain"),
    "ddim": Entry("guidelab.sampling.discrete:Ddim", needs="chain"),
})  # fmt: skip
ADDITIONS = Table("addition", "", {  # keys of terms and models that a sampler needs more code for
    "interval": Entry("guidelab.core.guidance.interval:Interval"),
    "churn": Entry("guidelab.sampling.churned:churn"),
    "boost": Entry("guidelab.sampling.boosting:boosted_samples"),
    "dropout": Entry("guidelab.core.degrade.dropout:dropout"),
    "input_noise": Entry("guidelab.core.degrade.input_noise:input_noise"),
})  # fmt: skip
CODECS = Table("codec", "", {  # how samples are stored
    "points": Entry("guidelab.sampling.codecs:Points"), "real_points": Entry("guidelab.sampling.real_points:RealPoints"),
    "pixels": Entry("guidelab.sampling.pixels:Pixels"),
    "latents": Entry("guidelab.sampling.latents:Latents"),
})  # fmt: skip
SOURCES = Table("source", "", {"fold": Entry("guidelab.sampling.real:shown")})  # of samples that no net draws
