"""What trains a denoiser, by its net; what discriminators are trained on, and how, by their role."""

from guidelab.registry.nets import NETS
from guidelab.registry.table import Entry, Table


class Trainers(Table):
    """The trainers of nets; nets of plugins are trained as edm2 is."""

    def of_plugin(self, name: str, where: str = "params.yaml") -> Entry | None:
        """The entry of edm2 for a net of a plugin; None for a name that is none."""
        return self["edm2"] if NETS.of_plugin(name, where) else None


TRAINERS = Trainers("trainer", "net", {
    "toy": Entry("guidelab.train.exact_score:learner"),
    "edm2": Entry("guidelab.jobs.image_learner:learner"),
    "edm": Entry("guidelab.jobs.image_learner:learner"),
    "adm": Entry("guidelab.jobs.image_learner:learner"),
    "dit": Entry("guidelab.jobs.image_learner:learner"),
})  # fmt: skip
SIDES = Table("kind of examples", "", {  # what discriminators are trained on
    "points": Entry("guidelab.jobs.point_sides:Points"),
    "images": Entry("guidelab.jobs.image_sides:Images"),
})  # fmt: skip
