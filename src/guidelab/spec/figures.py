"""Settings of an experiment's figures, built-in and of plugins."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, model_validator

from guidelab import registry
from guidelab.spec.base import Plug, Strict
from guidelab.spec.marks import Registered
from guidelab.spec.mistakes import shown
from guidelab.spec.plots import (
    DivergenceCalibration,
    DivergenceSigma,
    DivergenceWeight,
    Fig1,
    Fig2,
    Fig9,
    Figure,
    Grid,
    Lines,
    Planes,
    PrecisionRecall,
    Sweep,
    Weights,
)

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


class PluginFigure(Figure):
    """A figure of a user's own, made of measurements: the functions `rows` and `make` of a file in plugins/."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Annotated[Plug, Registered("figure")]  # plugins.mine:make


class Figures(Strict):
    """The figures of an experiment, each with what it needs; under any other name a figure of a plugin."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, PluginFigure] = Field(init=False)

    fig1: Fig1 | None = None
    fig2: Fig2 | None = None
    fig9: Fig9 | None = None
    sweep: Sweep | None = None
    sweep_guides: Sweep | None = None
    sweep_degraded: Sweep | None = None
    sweep_planes: Planes | None = None
    weights: Weights | None = None
    precision_recall: PrecisionRecall | None = None
    ema: Lines | None = None
    guides: Lines | None = None
    disc_training: Lines | None = None
    nfe: Lines | None = None
    grid: Grid | None = None
    variety: Grid | None = None
    divergence_sigma: DivergenceSigma | None = None
    divergence_calibration: DivergenceCalibration | None = None
    divergence_weight: DivergenceWeight | None = None

    @property
    def given(self) -> list[str]:
        """The names of the figures, those of plugins last."""
        return [*(n for n in type(self).model_fields if getattr(self, n)), *(self.model_extra or {})]

    @model_validator(mode="after")
    def _names_files(self) -> "Figures":
        for name in self.model_extra or {}:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,79}", name):
                raise ValueError(f"given the figure {shown(name)}, wanted a name of letters, digits and _")
        return self

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Figures of the 2D example for images, and the other way round."""
        absent, wrong = ("density", "the 2D example") if e.images else ("images", "images")
        known = [name for name, entry in registry.FIGURES.items() if absent not in entry.needs]
        for name in type(self).model_fields:
            if getattr(self, name) and name not in known:
                yield f"{where}.{name}: is a figure of {wrong}; wanted one of {', '.join(known)}"
