"""Registered figures, and the arrays some of them need besides measurements."""

import importlib
from typing import Any

from guidelab.registry import plugins
from guidelab.registry.table import Entry, Table


class Figures(Table):
    """Figures, each a module with the functions `rows` and `make`."""

    def module(self, name: str) -> Any:
        """Import the module of a figure."""
        found = self.entry(name)
        if plugins.is_plugin(found.target):
            plugins.load(found.target)
        return importlib.import_module(found.module)


FIGURES = Figures("figure", "figure", {  # needs: "density" (exact), "images", "divergences" (rows of `guidelab diverge`)
    "fig1": Entry("guidelab.paper.figures.fig1:make", needs="density"),
    "fig2": Entry("guidelab.paper.figures.fig2:make", needs="density"),
    "fig9": Entry("guidelab.paper.figures.fig9:make", needs="density"),
    "sweep": Entry("guidelab.paper.figures.sweep:make", needs="density"),
    "sweep_guides": Entry("guidelab.paper.figures.sweep:make", needs="density"),
    "sweep_degraded": Entry("guidelab.paper.figures.sweep:make", needs="density"),
    "sweep_planes": Entry("guidelab.paper.figures.planes:make", needs="density"),
    "divergence_sigma": Entry("guidelab.paper.figures.along:make", needs="divergences"),
    "divergence_calibration": Entry("guidelab.paper.figures.calibration:make", needs="divergences density"),
    "divergence_weight": Entry("guidelab.paper.figures.divergence_weight:make", needs="divergences"),
    "weights": Entry("guidelab.paper.figures.weights:make", needs="images"),
    "precision_recall": Entry("guidelab.paper.figures.planes:make", needs="images"),
    "ema": Entry("guidelab.paper.figures.lines:make", needs="images"),
    "guides": Entry("guidelab.paper.figures.lines:make", needs="images"),
    "disc_training": Entry("guidelab.paper.figures.lines:make", needs="images"),
    "nfe": Entry("guidelab.paper.figures.lines:make", needs="images"),
    "grid": Entry("guidelab.paper.figures.grid:make", needs="images"),
    "variety": Entry("guidelab.paper.figures.grid:make", needs="images"),
})  # fmt: skip
FIELDS = Table("field", "", {  # what figures draw besides measurements
    "fig1": Entry("guidelab.jobs.plane_fields:fig1"),
    "fig2": Entry("guidelab.jobs.plane_fields:fig2"),
    "fig9": Entry("guidelab.jobs.plane_fields:fig9"),
    "grid": Entry("guidelab.jobs.shown_fields:shown"),
    "variety": Entry("guidelab.jobs.shown_fields:shown"),
})  # fmt: skip
