"""What may be said of weights: no number of the block that chooses, no winner between weights chosen otherwise, edges."""

import pandas as pd
import pytest
from image_cases import AUTOG, CFG, INFO, SPEC, chosen, images

from guidelab.paper import columns, findings, opening, plotted, reported, select, summary, table, tuning
from guidelab.paper.figures import weights
from guidelab.paper.sheets import to_markdown

ONLY = {"cfg": ("reference", "blind", (2.0,), 1.0, (2.0, 211, 0.449), (1.25, 3.0, 0.802))}
WORSE = {  # both clearly worse than no guidance, autoguidance less so
    "cfg": ("reference", "blind", CFG, 1.0, (2.0, 900, 0.2), (2.0, 30, 0.5)),
    "autog": ("reference", "main_t8", AUTOG, 1.0, (2.0, 600, 0.3), (2.0, 15, 0.6)),
}


def part(rows: pd.DataFrame, heading: str) -> str:
    made = findings.text(rows, chosen(rows), INFO, SPEC)
    return next(one for one in made.split("\n## ") if one.startswith(heading))


def test_the_block_that_chooses_is_never_reported_even_where_each_variant_has_one_weight():
    rows = images(seeds=3)
    rows = rows[rows["variant"].isin(["none", "none_s6", "none_s18", "dg_first"])]
    assert set(chosen(rows)["n_candidates"]) == {1}
    assert set(reported.rows(rows, chosen(rows))["seed_block"]) == {"report1", "report2"}
    flat = select.flatten(rows, chosen(rows, "fid@lite0"), [], select_block="select")
    mean = rows[
        (rows["variant"] == "none") & (rows["metric"] == "fid@lite0") & (rows["seed_block"] != "select")
    ]
    assert flat["none_fid@lite0"] == pytest.approx(mean["value"].mean())


def test_no_winner_between_weights_that_the_metric_did_not_choose():
    said = part(images(**ONLY), "CFG or autoguidance?")
    assert "wins" not in said and "**better**" not in said and "**worse**" not in said
    assert said.count("No winner is named in") == 2 and "against w = 2 (the only one tried)" in said
    assert "do not contradict" not in said
    sums = part(images(**ONLY), "Do sums of methods")
    assert (
        "DG + autoguidance, w = 2 **beats either alone** in Lite0" in sums
        and "No winner is named in Lite0" in sums
    )


def test_no_winner_where_both_lose_to_no_guidance():
    said = part(images(**WORSE), "CFG or autoguidance?")
    assert (
        "Autoguidance is better than CFG in Lite0 features, but not shown to be better than no guidance: no winner"
        in said
    )
    assert "wins**" not in said
    assert "**none of the 4 weights tried beats no guidance**" in part(
        images(**WORSE), "Is the best weight above"
    )
    assert "none of the" not in part(images(), "Is the best weight above").split("- discriminator")[0]


def test_guides_are_ranked_at_weights_of_their_own_only():
    one = (
        "reference",
        "main_t16",
        (2.0,),
        1.0,
        (2.0, 150, 0.6),
        (2.0, 1.0, 0.9),
    )  # the best of all, at one weight
    said = part(images(autog_t16=one), "Which weakness")
    assert "Best of these 6 by FID on the choosing block in Lite0 features: autoguidance, w = 2" in said
    assert "Not ranked in Lite0 features, as their weight was not chosen among several: " in said
    line = next(x for x in said.splitlines() if "1/16 of training against" in x or "autog t16 against" in x)
    assert "**better**" not in line and "FID clearly lower" in line


@pytest.mark.parametrize(
    ("best", "base", "edge"),
    [(2.0, 416, ""), (3.0, 416, tuning.LARGEST), (1.5, 416, ""), (1.5, 150, tuning.SMALLEST)],
)
def test_a_choice_at_the_edge_is_said_in_table_findings_and_figure(best, base, edge):
    cfg = ("reference", "blind", CFG, 1.0, (best, 211, 0.449), (best, 1.41, 0.802))
    rows = images(cfg=cfg)
    none = (rows["variant"] == "none") & (rows["metric"] == "fid@lite0")
    rows.loc[none, "value"] *= base / 416
    rows = rows[~rows["metric"].str.endswith("@classifier")]
    picked = chosen(rows, "fid@lite0")
    made = table.make_table(rows, picked, INFO, None, SPEC)
    wide = columns.wide(made)[0]
    assert wide.loc[wide["variant"] == "cfg", "edge"].tolist() == [edge]
    row = next(line for line in to_markdown(made).splitlines() if line.startswith("| CFG "))
    assert (f"{best:.2f}, edge" in row) == bool(edge)
    said = findings.text(rows, picked, INFO, SPEC)
    line = next(x for x in said.splitlines() if x.startswith("- CFG: In Lite0"))
    assert (f"at w = {best:g} ({edge})" in line) == bool(edge)
    tables = {"measurements": rows, "selected": picked, "metrics": INFO}
    drawn = weights.rows(tables, {"settings": {"variants": ["cfg"], "metrics": ["fid@lite0"]}})
    assert plotted.at_edge(drawn) == ("ring at the edge of the weights tried: CFG" if edge else "")


def test_the_opening_counts_verdicts_after_holms_correction(monkeypatch):
    rows = images()
    plain = opening.sentences(rows, chosen(rows), INFO, SPEC)
    taken_back = lambda *given: table.make_table(*given).assign(verdict_holm=summary.UNCLEAR)  # noqa: E731
    monkeypatch.setattr(opening, "make_table", taken_back)
    held = opening.sentences(rows, chosen(rows), INFO, SPEC)
    assert not any("(0 and 0 after" in one for one in plain)
    assert any("(0 and 0 after Holm's correction)" in one for one in held)
