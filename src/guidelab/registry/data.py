"""Registered datasets, their exact densities if known, and the writers of their splits."""

from guidelab.registry.table import Entry, Table

DATASETS = Table("dataset", "dataset", {
    "toy2d": Entry("guidelab.data.toy2d_tree:grown"),
    "fashion_mnist": Entry("guidelab.data.fashion_mnist:prepare", needs="cache", classes=10),
    "image_zip": Entry("guidelab.data.image_zip:prepare"),
    "image_folder": Entry("guidelab.data.image_folder:prepare"),
    "imagenet": Entry("guidelab.data.imagenet:prepare", needs="stream", classes=1000),
    "cifar10": Entry("guidelab.data.cifar10:prepare", needs="stream", classes=10),
})  # fmt: skip
DENSITIES = Table(
    "density", "", {"toy2d": Entry("guidelab.data.toy2d:fractal")}
)  # exact, at every noise level
TRUTHS = Table("truth", "", {"toy2d": Entry("guidelab.data.toy2d_truth:truth_at")})  # what metrics need of it
FACTS = Table(
    "facts", "", {"toy2d": Entry("guidelab.data.toy2d_truth:facts")}
)  # its constants, kept with the data
FOLDS = Table("kind of examples", "", {  # how folds of real data are written
    "points": Entry("guidelab.jobs.point_folds:save"),
    "images": Entry("guidelab.jobs.image_folds:save"),
})  # fmt: skip
