"""Registered feature extractors, metrics and kinds of measurements."""

from guidelab.registry.table import Entry, Table

EXTRACTORS = Table("extractor", "extractor", {
    "efficientnet_lite0": Entry("guidelab.features.efficientnet_lite0:EfficientNetLite0"),
    "trained": Entry("guidelab.features.trained:Trained"),
    "inception": Entry("guidelab.features.inception:Inception"),
    "dinov2": Entry("guidelab.features.dinov2:Dinov2"),
    "tiny": Entry("guidelab.features.tiny:Tiny"),
})  # fmt: skip
METRICS = Table("metric", "metric", {
    name: Entry("guidelab.metrics.measure_toy:measure_points")
    for name in (
        "frechet", "precision", "recall", "mean_log_p", "mean_log_p_clipped", "median_log_p",
        "outliers_contour", "outliers_99", "runaways", "mass_covered", "branches_empty", "branch_tv",
        "leaf_mass", "class_wrong",
    )
})  # fmt: skip
IMAGE_METRICS = Table("image metric", "metric", {
    name: Entry("guidelab.metrics.images:measure_images", needs=needs)
    for name, needs in (
        ("fid", "statistics"), ("sfid", "spatial"), ("kid", "real"), ("precision", "real"), ("recall", "real"),
        ("inception_score", "logits"), ("accuracy", "logits labels"),
    )
})  # fmt: skip
DIVERGENCES = Table("divergence", "", {
    name: Entry("guidelab.metrics.divergence:divergences")
    for name in ("kl", "kl_reverse", "js", "chi2", "hellinger2")
})  # fmt: skip
REPRESENTATIONS = Table("representation", "", {  # what samples are measured as
    "coordinates": Entry("guidelab.jobs.coordinates:spaces"),
    "features": Entry("guidelab.jobs.feature_spaces:spaces"),
})  # fmt: skip
