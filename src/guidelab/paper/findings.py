"""The findings of an experiment in words: computed sentences to quote, then an answer to every question whose rows exist."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import names, opening, reported
from guidelab.paper.answers import answer
from guidelab.paper.evidence import Evidence
from guidelab.paper.markdown import escape
from guidelab.paper.questions import QUESTIONS


def text(
    measurements: pd.DataFrame, selected: pd.DataFrame, info: pd.DataFrame, spec: Mapping[str, Any]
) -> str:
    """The findings as Markdown.

    Args:
        measurements: tidy rows of one experiment.
        selected: the chosen weights; the block that chose them is left out of every number.
        info: workflow/resources/metrics.csv.
        spec: experiment, scale and optionally kind and mains (variant to the net it guides).
    Raises:
        UserError: rows that may not be compared; see `reported.rows`.
    """
    title = "# Findings"
    if spec["scale"] == names.SMOKE:
        return f"{title}\n\n{_smoke(measurements, spec)}\n"
    f = Evidence(measurements, selected, info, spec.get("mains"))
    parts = [title, *map(escape, opening.sentences(measurements, selected, info, spec)), _method(f, spec)]
    open_ = []
    for question in QUESTIONS:
        lines = answer(f, question)
        if lines:
            parts += [f"## {question.heading}", *filter(None, [question.claim]), "\n".join(lines)]
        elif not question.expected:
            open_.append(question.heading.rstrip("?"))
    parts += ["## What could not be estimated", opening.unestimable(f)]
    if open_:
        parts.append(f"Not measured here, so without an answer: {'; '.join(open_)}.")
    return "\n\n".join(parts) + "\n"


def _smoke(measurements: pd.DataFrame, spec: Mapping[str, Any]) -> str:
    """What may be said of random weights: that everything ran."""
    finite = int(pd.to_numeric(measurements["value"], errors="coerce").notna().sum())
    at = measurements[["variant", "w"]].drop_duplicates()
    return (
        f"{spec['experiment']}, {names.scale_name(names.SMOKE)}.\n\nNothing about any method: the nets have random weights and "
        f"the data are synthetic. They show that every step runs: {len(measurements)} numbers "
        f"of {len(at)} points of {at['variant'].nunique()} variants, {finite} of them finite."
    )


def _method(f: Evidence, spec: Mapping[str, Any]) -> str:
    """How the numbers below were formed and what their intervals cover."""
    n = int(f.rows["n_generated"].max())
    unguided = f.rows[f.rows["variant"].isin(reported.unguided(f.rows))]
    trainings = int(unguided["train_seed"].nunique())
    blocks = ", ".join(dict.fromkeys(map(str, f.rows["seed_block"])))
    by = "that its FID in the same feature space chose" if f.views[0].space else "chosen"
    over = (
        f"The unguided net has {trainings} trainings; where both points have several, intervals are Student's over trainings"
        if trainings > 1
        else "There is one training of the main net: intervals cover other samples, not other trainings"
    )
    return (
        f"{spec['experiment']}, {names.scale_name(str(spec['scale']))}; {f.steps} sampler steps; blocks {blocks} of up to {n:,} "
        f"samples, which chose no weight. Each method stands at the weight {by} on another block (or at its only weight). {over}. "
        "Differences are paired: on common trainings, blocks and noise; over one training their errors are those of the samples' own "
        "differences where a metric has them, else combined as if unpaired, an upper bound. Brackets are 95 % intervals. A difference is "
        "called clear, better or worse when its interval leaves out 0 and every block and training agrees in sign; of two guided variants "
        "neither is called better unless this metric chose the weights of both among several. Verdicts that hold after Holm's correction "
        "for all differences to no guidance in a feature space are in the table's CSV."
    )
