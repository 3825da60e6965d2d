# ruff: noqa: RUF001 - dashes are what readers see
"""What readers see on the page: nothing cut off, an axis for equal values, digits as published, sizes as they were."""

import numpy as np
import pandas as pd
import pytest
from imagenet_cases import INFO, MAINS, MAP, PUBLISHED, ROOT, SPEC, chosen, imagenet_rows
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from guidelab.errors import UserError
from guidelab.io import write_csv
from guidelab.jobs.table import published_values
from guidelab.paper import (
    columns,
    latex,
    looks,
    page,
    published,
    published_sheet,
    ranges,
    render,
    style,
    summary,
    table,
)
from guidelab.paper.figures import grid, weights
from guidelab.paper.reproduced import NOT_TARGET
from guidelab.paper.sheets import to_latex, to_markdown

LONG = " ".join(["imagenet256_smoke_trained, smoke test: random weights, no number here means anything;"] * 2)
RESOURCE = ROOT / "workflow" / "resources" / "published.csv"


def renderer(fig: Figure):
    fig.set_dpi(render.PNG["dpi"])  # letters are wider at fewer dots: what is saved counts
    return FigureCanvasAgg(fig).get_renderer()


def feet(fig: Figure):
    return [t for t in fig.texts if t.get_color() == style.FAINT]


# ---- figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "lines"), [("toy2d, full", 1), (LONG, 3), (f"{LONG} {LONG}", 5)])
def test_a_footer_stays_on_the_page_and_keeps_every_word(text, lines):
    with style.context():
        fig = style.figure(60)
        style.footer(fig, text)
        box = feet(fig)[0].get_window_extent(renderer(fig))
    assert (
        feet(fig)[0].get_text().split() == text.split() and feet(fig)[0].get_text().count("\n") == lines - 1
    )
    assert box.x0 >= 0 and box.x1 <= fig.bbox.x1 and box.y0 >= 0
    assert style.footer_mm(text) - style.footer_mm("") == pytest.approx(
        (lines - 1) * (style.footer_mm(f"{LONG} {LONG}") - style.footer_mm("")) / 4
    )


def grid_of(experiment: str) -> Figure:
    settings = {"points": [["ADM", "adm"]], "n": 4, "block": "report1"}
    arrays = {
        "seeds": np.arange(100000, 100004),
        "labels": np.arange(4),
        "images/adm": np.zeros((4, 3, 8, 8)),
    }
    info = {"experiment": experiment, "scale": "smoke", "figure": "grid", "settings": settings}
    return grid.make(grid.rows(arrays, info), info)


def test_the_footer_of_a_grid_has_room_below_the_images():
    short, fig = grid_of("x"), grid_of("imagenet256 smoke trained " * 6)
    assert fig.get_figheight() > short.get_figheight()
    foot = feet(fig)[0].get_window_extent(renderer(fig))
    assert foot.x1 <= fig.bbox.x1 and foot.y0 >= 0
    assert all(not foot.overlaps(ax.get_window_extent(renderer(fig))) for ax in fig.axes)


def weights_of(rows: pd.DataFrame, **spec) -> tuple[pd.DataFrame, Figure]:
    settings = {"variants": ["cfg", "autog", "cg", "cfg_dg"], "metrics": ["recall@adm", "fid@adm"]}
    info = SPEC | {"settings": settings, "figure": "weights"} | spec
    drawn = weights.rows({"measurements": rows, "selected": chosen(rows), "metrics": INFO}, info)
    return drawn, weights.make(drawn, info)


def test_a_legend_takes_fewer_columns_rather_than_leave_the_page():
    _, fig = weights_of(
        imagenet_rows(), labels={v: f"{v}: a label of forty letters and more ...." for v in MAINS}
    )
    assert fig.legends[0].get_window_extent(renderer(fig)).x1 <= fig.bbox.x1
    with style.context():
        short = [page.handle(looks.look("cfg"), "CFG") for _ in range(7)]
        assert page.fitting(short) == 4 and page.fitting(short, 3) == 3
        long = page.handle(looks.look("cfg"), "a label of twenty letters")
        assert page.fitting([long] * 4) == 2
        assert page.fitting([page.handle(looks.look("cfg"), "as long as half the page " * 4)] * 4) == 1


def test_equal_values_have_an_axis_that_can_be_read():
    rows = imagenet_rows()
    rows.loc[rows["metric"] == "recall@adm", ["value", "std_error"]] = 0.0, 0.03
    _, fig = weights_of(rows)
    ax = next(a for a in fig.axes if a.get_label() == "recall@adm")
    low, high = ax.get_ylim()
    assert low == 0 and 0.03 < high < 0.1
    fig.draw_without_rendering()
    assert ax.yaxis.get_offset_text().get_text() == ""
    assert len({t.get_text() for t in ax.get_yticklabels()}) >= 3


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_equal_values_without_bands_are_in_the_middle_of_something(level):
    with style.context():
        ax = style.figure(60).add_axes((0.1, 0.1, 0.8, 0.8))
        ranges.limits(ax, np.full(3, level), np.full(3, np.nan), np.full(3, np.nan))
    low, high = ax.get_ylim()
    assert low <= level < high and high - low >= 0.05


def test_every_net_has_its_own_no_guidance_across_and_its_methods_start_there():
    rows, fig = weights_of(imagenet_rows())
    ax = next(a for a in fig.axes if a.get_label() == "fid@adm")
    at = {
        v: float(rows.loc[(rows["variant"] == v) & (rows["metric"] == "fid@adm"), "value"].iloc[0])
        for v in ("none", "adm")
    }
    across = {line.get_ydata()[0] for line in ax.lines if list(line.get_xdata()) == [0, 1]}
    assert across == set(at.values())
    for variant, own in (("cfg", "none"), ("cg", "adm")):
        colour = looks.look(variant).color
        starts = [
            line.get_ydata()[0]
            for line in ax.lines
            if line.get_color() == colour and len(line.get_xdata()) == 2 and line.get_xdata()[0] == 0
        ]
        assert starts == [at[own]]


# ---- tables -----------------------------------------------------------------------------------------------------


def with_real(scale: str = "full", n: int = 50_000) -> pd.DataFrame:
    """The measurements with a row of real images, which nothing sampled, and with notes as measure writes them."""
    rows = imagenet_rows(scale, n=n)
    real = rows[(rows["variant"] == "adm") & (rows["seed_block"] == "report1")]
    real = real[real["metric"].str.endswith("@adm")].assign(variant="validation", nfe=0)
    rows = pd.concat([rows, real], ignore_index=True)
    counted = rows["metric"].isin(["precision@adm", "recall@adm"])
    return rows.assign(note=np.where(counted, "k = 3, 10000 real x 50000 generated", ""))


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    rows = with_real()
    spec = SPEC | {"published": MAP | {"validation": ["Validation data"]}}
    return table.make_table(rows, chosen(rows), INFO, published_values(RESOURCE), spec)


def line(text: str, start: str, heading: str) -> list[str]:
    part = text[text.index(f"### {heading}") :]
    found = next(x for x in part.splitlines() if x.startswith(f"| {start} "))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_real_images_have_neither_weight_nor_steps(made):
    text = to_markdown(made)
    numbers = line(text, "validation images", "Methods")
    assert numbers[1] == "–" and numbers[2].startswith("10.9") and numbers[-1] == "–"
    assert numbers[3] == numbers[4] == "–"  # not compared with the fold it is of
    csv = columns.wide(made)[0].set_index("variant")
    assert csv.loc[["validation"], ["w", "w_neutral"]].isna().all(axis=None)
    assert (csv.loc["validation", ["steps", "nfe"]] == "").all() and csv.loc["validation", "fid@adm"] > 10
    assert csv.loc["adm", "w"] == 1 and csv.loc["adm", "steps"] == 250


def test_beside_a_published_value_only_what_is_guided_has_a_weight(made):
    text = to_markdown(made)
    for row, here in (("Validation data", "validation images"), ("ADM", "ADM, no guidance")):
        assert line(text, row, published.SECTION)[3] == here
    assert line(text, "DiT-XL/2 + CFG", published.SECTION)[3] == "CFG, w = 1.5"


def test_k_and_the_numbers_of_images_stand_under_precision_and_recall(made):
    said = "recall in Inception (ADM) against 10,000 of adm (k = 3, 10,000 real x 50,000 generated)"
    assert to_markdown(made).count(said) == 1
    assert said in to_latex(made)


def test_a_smoke_table_says_that_its_features_are_made_up_too():
    rows = with_real("smoke", n=16)
    text = to_markdown(table.make_table(rows, chosen(rows), INFO, PUBLISHED, SPEC | {"scale": "smoke"}))
    assert "Inception and DINOv2 name small random nets" in text
    full = imagenet_rows()
    assert "small random nets" not in to_markdown(table.make_table(full, chosen(full), INFO, PUBLISHED, SPEC))


def test_published_values_keep_the_digits_they_were_printed_with(made, tmp_path):
    text = to_markdown(made)
    assert line(text, "ADM + CG + DG (best recall)", published.SECTION)[2] == "4.45"
    assert "| 0.60 |" in " ".join(text.split()) and "| 0.50 |" in " ".join(text.split())
    frame = pd.DataFrame(PUBLISHED).assign(value=lambda t: t["value"].map(lambda v: f"{v:.3f}"))
    write_csv(tmp_path / "p.csv", frame)
    read = published_values(tmp_path / "p.csv")
    assert read["value"].dtype == float and read["printed"].str.fullmatch(r"\d+\.\d{3}").all()
    for as_text in (
        published_sheet.document,
        lambda frame: latex.document("", [published_sheet.sheet(frame)]),
    ):
        assert " 1.900 " not in as_text(published.not_run_table(PUBLISHED, "celeba64"))
        assert " 1.900 " in as_text(published.not_run_table(read, "celeba64"))


def test_the_list_has_the_two_decimals_of_the_papers():
    read = published_values(RESOURCE)
    of_papers = read[read["metric"].isin(["fid", "fd_dinov2", "recall"])]
    assert of_papers["printed"].str.fullmatch(r"\d+\.\d{2,4}").all()


def test_nothing_that_was_not_run_or_is_no_target_has_a_difference(made):
    mine = made[made["section"] == published.SECTION]
    missing = mine[mine["variant"] == ""]
    assert len(missing) and (missing["status"] == summary.NOT_RUN).all()
    assert missing["published_verdict"].str.endswith("not run").all()
    none = mine["published_verdict"].str.startswith(NOT_TARGET)
    assert none.any() and mine.loc[none, ["published_difference", "allowed"]].isna().all(axis=None)
    assert (
        mine.loc[mine["published_row"].str.contains("slides"), "published_verdict"]
        .str.contains("conflicting")
        .all()
    )


@pytest.mark.parametrize("column", ["value", "weight", "n_generated"])
@pytest.mark.parametrize("wrong", ["NaN", "inf", "1e400", "3,5", "0x10", "\x1b[31m", "three"])
def test_a_published_number_that_is_none_is_never_compared(tmp_path, column, wrong):
    table = pd.read_csv(RESOURCE, dtype=str, keep_default_na=False)
    table.loc[1, column] = wrong
    table.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(
        UserError, match=rf"p.csv: {column}: row 2: given .*, wanted a finite number"
    ) as error:
        published_values(tmp_path / "p.csv")
    assert str(error.value).isprintable()
