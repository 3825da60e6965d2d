import colorsys
import io
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from paper_cases import INFO, fig1_arrays, fig2_arrays, fig9_arrays, measured, selected

from guidelab.errors import UserError
from guidelab.paper import arrays as ar
from guidelab.paper import looks, maps, names, render, style
from guidelab.paper.figures import fig1, fig2, fig9, planes, sweep

PANELS = ["none", "cfg/w4.00"]
FIG1 = {
    "experiment": "toy2d",
    "scale": "reduced",
    "settings": {"n": 40, "panels": PANELS, "closeup": [0, 1, 0, 1]},
}
FIG2 = {"experiment": "toy2d", "scale": "full", "settings": {"sigma": 0.03, "panels": PANELS}}
FIG9 = {"experiment": "toy2d", "scale": "ci", "settings": {"sigmas": [0.5, 0.03]}}
SWEEP = {"experiment": "toy2d", "scale": "reduced", "settings": {}}
GUIDES = SWEEP | {
    "figure": "sweep_guides",
    "settings": {"group": "Choice of the weak model", "compared_with": ["autog"]},
}
PLANES = SWEEP | {"figure": "sweep_planes"}


def texts(fig: Figure) -> str:
    found = [t.get_text() for t in fig.findobj(mpl.text.Text)]
    return "\n".join(t for t in found if t)


def sweep_rows(module=sweep, info=SWEEP) -> pd.DataFrame:
    def numbers(shift: float, k: int = 3) -> dict[str, list[float]]:
        return {m: [0.3 + shift + 0.01 * i for i in range(k)] for m in sweep.FULL}

    rows = measured(
        {
            ("none", 1.0): numbers(0), ("autog", 2.0): numbers(0.1), ("autog", 3.0): numbers(0.2),
            ("cfg", 2.0): numbers(0.15), ("cfg", 4.0): numbers(0.5), ("autog_xs", 2.0): numbers(0.05, 1),
        }
    )  # fmt: skip
    rows.loc[(rows["variant"] == "cfg") & (rows["w"] == 4.0) & (rows["metric"] == "kl"), "note"] = (
        "not estimable: x"
    )
    described = pd.DataFrame(
        [(m, m, "", "lower") for m in sweep.FULL], columns=["metric", "label", "unit", "direction"]
    )
    return module.rows(
        {"measurements": rows, "selected": selected(("autog", 2.0), ("cfg", 2.0)), "metrics": described}, info
    )


CASES = {
    "fig1": lambda: (fig1.rows(fig1_arrays(), FIG1), fig1, FIG1),
    "fig2": lambda: (fig2.rows(fig2_arrays(), FIG2), fig2, FIG2),
    "fig9": lambda: (fig9.rows(fig9_arrays([0.5, 0.03]), FIG9), fig9, FIG9),
    "sweep": lambda: (sweep_rows(), sweep, SWEEP),
    "sweep_guides": lambda: (sweep_rows(info=GUIDES), sweep, GUIDES),
    "sweep_planes": lambda: (sweep_rows(planes), planes, PLANES),
}


@pytest.mark.parametrize("name", CASES)
def test_deterministic_bytes_from_rows_read_back(name):
    rows, module, info = CASES[name]()
    again = pd.read_csv(io.StringIO(rows.to_csv(index=False)), keep_default_na=True)
    with mpl.rc_context():
        before = dict(mpl.rcParams)
        files = []
        for table in (rows, again):
            figure = module.make(table, info)
            for options in (render.PDF, render.PNG):
                file = io.BytesIO()
                with style.context():
                    figure.savefig(file, **options | {"dpi": 50})
                files.append(file.getvalue())
        assert dict(mpl.rcParams) == before  # nothing global is left changed
    assert files[0] == files[2] and files[1] == files[3]
    assert b"CreationDate" not in files[0] and b"Software" not in files[1]


@pytest.mark.parametrize("name", CASES)
def test_size_fonts_and_scale(name):
    rows, module, info = CASES[name]()
    figure = module.make(rows, info)
    width, height = figure.get_size_inches() / style.MM
    assert width == pytest.approx(style.WIDTH_MM) and height < 260
    assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()) >= 5
    assert ("scaled down" in texts(figure)) == (info["scale"] != "full")


@pytest.mark.parametrize("name", CASES)
def test_rows_that_cannot_be_drawn_are_refused(name):
    rows, module, info = CASES[name]()
    with pytest.raises(UserError, match=f"figure {name}: given columns"):
        module.make(rows.drop(columns=rows.columns[-1]), info)
    with pytest.raises(UserError, match="given no rows"):
        module.make(rows.iloc[:0], info)


def test_fig1_draws_the_rows():
    rows = fig1.rows(fig1_arrays(), FIG1)
    figure = fig1.make(rows, FIG1)
    assert len(figure.axes) == 3
    for ax, panel in zip(figure.axes, ("truth", "none/w1.00", "cfg/w4.00"), strict=True):
        mine = rows[(rows["panel"] == panel) & (rows["kind"] == "sample")]
        drawn = np.concatenate([line.get_xydata() for line in ax.lines])
        expected = mine[["x", "y"]].to_numpy()
        assert len(mine) == 40
        assert {tuple(p) for p in drawn} == {tuple(p) for p in expected}
        assert ax.get_aspect() == 1.0 and not ax.get_xticks().size
    red = figure.axes[2].lines[1]
    outside = rows[(rows["panel"] == "cfg/w4.00") & (rows["value"] < maps.CONTOUR)]
    assert red.get_color() == style.OUTSIDE and len(red.get_xdata()) == len(outside) > 10
    words = texts(figure)
    for wanted in (
        "ground truth",
        "no guidance",
        "CFG, w = 4",
        "% outside",
        "sample outside it",
        "40 samples a panel",
    ):
        assert wanted in words


def test_fig1_counts_samples_beyond_the_frame_and_keeps_the_window():
    arrays = fig1_arrays()
    arrays["samples/none/w1.00"][:7] = 1e5
    figure = fig1.make(fig1.rows(arrays, FIG1), FIG1)
    assert "7 beyond the frame" in texts(figure)
    assert figure.axes[1].get_xlim()[1] < 3


def test_outline_is_where_the_density_crosses_the_level_and_closes_at_the_edge():
    x = np.linspace(-2, 2, 201)
    xx, yy = np.meshgrid(x, x)
    circle = ar.outline(x, x, 1 - xx**2 - yy**2, 0.0)
    assert np.hypot(circle["x"], circle["y"]).to_numpy() == pytest.approx(1.0, abs=1e-3)
    half = ar.outline(x, x, 1 - (xx - 2) ** 2 - yy**2, 0.0)
    first, last = half.iloc[0], half.iloc[-1]
    assert (first["x"], first["y"]) == pytest.approx((last["x"], last["y"]))
    assert len(ar.outline(x, x, xx - 100, 0.0)) == 0


def test_fig2_draws_grids_arrows_and_paths():
    arrays = fig2_arrays()
    rows = fig2.rows(arrays, FIG2)
    grid = rows[(rows["kind"] == "grid") & (rows["panel"] == "p1")]
    assert grid["value"].max() == 0.0 and len(grid) == 400
    figure = fig2.make(rows, FIG2)
    panels = figure.axes[:5]
    assert [ax.get_xlim() for ax in panels] == [pytest.approx((0.5, 1.1))] * 5
    quiver = next(c for c in panels[2].collections if hasattr(c, "U"))
    assert quiver.U[0] > 0 > quiver.U[1] and list(quiver.X) == [0.6, 0.9]
    paths = [line for line in panels[4].lines if len(line.get_xdata()) == 5]
    assert len(paths) == 3
    assert paths[0].get_xdata() == pytest.approx(arrays["track/cfg/w4.00"][:, 0, 0], rel=1e-3)
    for wanted in ("main", "uncond.", "ln p₁/p₀", "no guidance", "CFG, w = 4", "path of a sample"):
        assert wanted in texts(figure)


def test_fig9_has_a_line_for_each_sigma_high_to_low():
    rows = fig9.rows(fig9_arrays([0.5, 0.03]), FIG9)
    assert len(rows) == 2 * 12 * 15 and list(rows.columns) == fig9.COLUMNS
    figure = fig9.make(rows, FIG9)
    panels = figure.axes[:10]
    assert [ax.get_ylabel() for ax in panels if ax.get_ylabel()] == ["σ = 0.5", "σ = 0.03"]  # noqa: RUF001
    drawn = panels[0].collections[0].get_array()
    expected = rows[rows["sigma"] == 0.5].pivot_table(index="y", columns="x", values="log_p1").to_numpy()
    assert np.asarray(drawn).ravel() == pytest.approx(expected.ravel())
    ratio = np.asarray(panels[3].collections[0].get_array()).ravel()
    table = rows[rows["sigma"] == 0.5]
    difference = (table["log_p1"] - table["log_p0_cfg"]).to_numpy()
    seen = (table["log_p1"] > fig9.FLOOR).to_numpy()
    assert ratio == pytest.approx(difference - np.median(difference[seen]))
    with pytest.raises(UserError, match="wanted one finite value at every grid point"):
        fig9.make(rows.drop(index=3), FIG9)


def test_sweep_draws_values_bands_rings_and_crosses():
    rows = sweep_rows()
    figure = sweep.make(rows, SWEEP)
    panels = {ax.get_label(): ax for ax in reversed(figure.axes)}
    ax = panels["kl"]
    line = next(li for li in ax.lines if li.get_label() == "autog")
    mine = rows[(rows["variant"] == "autog") & (rows["metric"] == "kl")]
    assert list(line.get_xdata()) == [1.0, 2.0] == list(mine["offset"])
    assert line.get_ydata() == pytest.approx(mine["value"].to_numpy())
    assert line.get_ydata() == pytest.approx([0.41, 0.51])
    crosses = [li for li in ax.lines if li.get_marker() == "x"]
    assert len(crosses) == 1 and list(crosses[0].get_xdata()) == [3.0]
    rings = [tuple(p) for li in ax.lines if li.get_markersize() == 6.5 for p in li.get_xydata()]
    assert (1.0, pytest.approx(0.41)) in rings and len(rings) == 2
    words = texts(figure)
    for wanted in ("autoguidance", "CFG", "chosen weight", "not estimable"):
        assert wanted in words
    assert "guide: smaller" not in words


def test_a_group_has_a_figure_of_its_own_with_what_it_is_compared_with():
    rows = sweep_rows(info=GUIDES)
    assert set(rows["variant"]) == {"none", "autog", "autog_xs"}
    words = texts(sweep.make(rows, GUIDES))
    for wanted in ("Choice of the weak model", "guide: smaller", "one training only"):
        assert wanted in words


def test_the_figures_of_groups_hold_the_values_of_one_table():
    keys = ["variant", "metric", "w"]
    whole, part = sweep_rows().set_index(keys), sweep_rows(planes).set_index(keys)
    pd.testing.assert_frame_equal(whole.loc[part.index], part)


def test_sweep_plane_carries_weights_and_says_what_is_missing():
    rows = sweep_rows(planes)
    plane = next(ax for ax in planes.make(rows, PLANES).axes if ax.get_label() == "precision against recall")
    assert {"2", "3", "4"} <= {t.get_text() for t in plane.texts}
    less = rows.assign(
        status=rows["status"].where((rows["metric"] != "recall") | (rows["w"] != 4), "not run")
    )
    plane = next(ax for ax in planes.make(less, PLANES).axes if ax.get_label() == "precision against recall")
    assert "1 points without both numbers" in {t.get_text() for t in plane.texts}


def test_a_metric_without_any_number_has_no_empty_panel_and_is_named():
    rows = sweep_rows()
    rows.loc[rows["metric"] == "js", ["status", "value"]] = ["not run", np.nan]
    figure = sweep.make(rows, SWEEP)
    assert "js" not in {ax.get_label() for ax in figure.axes} and len(figure.axes) == len(sweep.FULL) - 1
    assert "left out, no number: js" in texts(figure).replace("\n", " ")


def test_arrays_are_checked():
    arrays = fig1_arrays()
    with pytest.raises(UserError, match=r"figure fig1: no array 'samples/cfg/w4\.00'"):
        fig1.rows({k: v for k, v in arrays.items() if k != "samples/cfg/w4.00"}, FIG1)
    with pytest.raises(UserError, match=r"'grid/log_p_other' has shape \(60, 60\), wanted \(60, 59\)"):
        fig1.rows(arrays | {"grid/x": arrays["grid/x"][:-1]}, FIG1)


def test_rounding_keeps_four_digits_and_the_unrepresentable():
    values = np.array([123456.0, -0.000123456, 0.0, np.nan, np.inf])
    assert ar.rounded(values)[:3] == pytest.approx([123500.0, -0.0001235, 0.0])
    assert np.isnan(ar.rounded(values)[3]) and np.isinf(ar.rounded(values)[4])
    x = np.arange(5.0)
    thin = ar.thinned(x, x, [np.add.outer(10 * x, x)], 3)
    assert list(thin[0]) == [0, 2, 4] and thin[2][0].tolist() == [[0, 2, 4], [20, 22, 24], [40, 42, 44]]


def lightness(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    y = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


INKS = (  # the variants of toy2d
    "none", "truncation", "cfg", "cfg_interval", "autog", "autog_xs", "autog_t16", "autog_ema", "dropout", "input_noise",
    "mismatched", "dg", "dg_first", "dg_autog",
)  # fmt: skip


def test_looks_stay_apart_in_grey_and_groups_share_a_hue():
    with names.of({"looks": [names.looks()[v] for v in INKS]}):
        drawn = {v: looks.look(v) for v in INKS}
    for (a, one), (b, two) in combinations(drawn.items(), 2):
        assert (one.marker, one.dashes) != (two.marker, two.dashes), (a, b)
    assert len({look.color for look in drawn.values()}) == len(INKS)
    hue = {v: colorsys.rgb_to_hsv(*to_rgb(drawn[v].color))[0] for v in INKS}
    assert hue["cfg"] == pytest.approx(hue["cfg_interval"], abs=0.03)
    assert hue["autog_xs"] == pytest.approx(hue["autog_t16"], abs=0.03)
    assert abs(hue["cfg"] - hue["dg"]) > 0.05
    assert looks.look("none_s6") == looks.look("none") and looks.look("something_new") == looks.look(
        "something_new"
    )


def test_region_and_marks_are_apart_in_grey():
    steps = [lightness(c) for c in (looks.INK, style.OUTSIDE, style.REGION, style.REGION_OTHER, "white")]
    assert min(np.diff(steps)) > 7
    assert INFO["metric"].is_unique
