"""The figures of an experiment, each with what it needs."""

from typing import Annotated

from pydantic import AfterValidator, Field

from guidelab.spec.base import Name, Point, Positive, Size, Strict


def _ordered(window: list[float]) -> list[float]:
    x0, x1, y0, y1 = window
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"given {window}, wanted [x0, x1, y0, y1] with x0 < x1 and y0 < y1")
    return window


Window = Annotated[list[float], Field(min_length=4, max_length=4), AfterValidator(_ordered)]  # x0, x1, y0, y1


class Fig1(Strict):
    """Samples of the truth and of four samplers over the data's region."""

    n: Size
    window: Window
    grid: Size
    closeup: Window | None = None
    train_seed: int
    panels: Annotated[list[Point], Field(min_length=1)]


class Fig2(Strict):
    """Close-up: densities, their ratio, trajectories."""

    sigma: Positive
    window: Window
    grid: Size
    train_seed: int
    lines: Size
    panels: Annotated[list[Point], Field(min_length=2, max_length=2)]


class Fig9(Strict):
    """Learned densities and their ratios along sigma."""

    sigmas: Annotated[list[Positive], Field(min_length=1)]
    window: Window
    grid: Size
    train_seed: int
    main: Name
    cfg: Name
    autog: Name


class Sweep(Strict):
    """Curves over the weight: everything measured."""


class Figures(Strict):
    """The figures of an experiment, each with what it needs."""

    fig1: Fig1 | None = None
    fig2: Fig2 | None = None
    fig9: Fig9 | None = None
    sweep: Sweep | None = None
