"""Registered training examples and trainers of denoisers and discriminators."""

from guidelab.registry.table import Entry, Table

TRAINERS = Table("trainer", "", {  # what denoisers are trained on
    "points": Entry("guidelab.jobs.point_learner:learner"),
    "images": Entry("guidelab.jobs.image_learner:learner"),
})  # fmt: skip
SIDES = Table("kind of examples", "", {  # what discriminators are trained on
    "points": Entry("guidelab.jobs.point_sides:Points"),
    "images": Entry("guidelab.jobs.image_sides:Images"),
})  # fmt: skip
