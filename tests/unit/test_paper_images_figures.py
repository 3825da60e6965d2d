import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from image_cases import INFO, chosen, grid_arrays, images
from matplotlib.figure import Figure

from guidelab.errors import UserError
from guidelab.paper import looks, pictures, render, style
from guidelab.paper.figures import grid, lines, planes, weights

ROWS = images()
SELECTED = chosen(ROWS)
W = (1.5, 2.0, 2.5, 3.0)
FID = ["fid@lite0", "fid@classifier"]
SETTINGS = {
    "weights": {"variants": ["cfg", "autog", "dg", "dg_autog"]},
    "precision_recall": {"variants": ["cfg", "autog"], "features": ["lite0"]},
    "guides": {
        "x_label": "w", "metrics": FID, "levels": {"no guidance": "none"},
        "lines": {v: [[w, f"{v}/w{w:.2f}"] for w in W] for v in ("autog", "autog_t4", "autog_xs_t16")},
    },
    "ema": {
        "x_label": "EMA length", "metrics": FID,
        "lines": {
            "main": [[0.05, "main_ema050/w1.00"], [0.1, "none/w1.00"], [0.15, "main_ema150/w1.00"]],
            "guide": [[0.05, "guide_ema050/w2.00"], [0.1, "autog/w2.00"], [0.15, "guide_ema150/w2.00"]],
        },
    },
    "nfe": {
        "x_label": "NFE", "metrics": ["fid@lite0"], "steps_differ": True, "log_x": True,
        "lines": {"no guidance": [[11, "none_s6"], [23, "none"], [35, "none_s18"]]},
    },
}  # fmt: skip
MODULES = {
    "weights": weights,
    "precision_recall": planes,
    "guides": lines,
    "ema": lines,
    "nfe": lines,
}
POINTS = [["none", "none"], ["CFG, w = 2", "cfg/w2.00"], ["autog., w = 2", "autog/w2.00"]]
GRID = {"points": POINTS, "n": 6, "train_seed": 0, "block": "report1", "labels": []}


def job(name: str, **changed: object) -> dict:
    settings = GRID if name in ("grid", "variety") else SETTINGS[name]
    return {
        "kind": "images",
        "experiment": "fashion",
        "scale": "reduced",
        "figure": name,
        "settings": {**settings, **changed},
    }


def tables(rows: pd.DataFrame, selected: pd.DataFrame = SELECTED) -> dict[str, pd.DataFrame]:
    return {"measurements": rows, "selected": selected, "metrics": INFO}


def case(name: str, **changed: object) -> tuple[pd.DataFrame, object, dict]:
    info = job(name, **changed)
    if name in ("grid", "variety"):
        return grid.rows(grid_arrays([p for _, p in POINTS]), info), grid, info
    return MODULES[name].rows(tables(ROWS), info), MODULES[name], info


def texts(fig: Figure) -> str:
    return "\n".join(t.get_text() for t in fig.findobj(mpl.text.Text) if t.get_text())


@pytest.mark.parametrize("name", [*SETTINGS, "grid"])
def test_bytes_repeat_from_rows_read_back_and_nothing_global_changes(name):
    rows, module, info = case(name)
    again = pd.read_csv(io.StringIO(rows.to_csv(index=False)), keep_default_na=True)
    before, files = dict(mpl.rcParams), []
    for table in (rows, again):
        figure = module.make(table, info)
        file = io.BytesIO()
        with style.context():
            figure.savefig(file, **render.PNG | {"dpi": 50})
        files.append(file.getvalue())
    assert files[0] == files[1] and dict(mpl.rcParams) == before
    width, height = figure.get_size_inches() / style.MM
    assert width == pytest.approx(style.WIDTH_MM) and height < 240
    assert "scaled down (reduced)" in texts(figure)
    assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()) >= 5


@pytest.mark.parametrize("name", [*SETTINGS, "grid"])
def test_rows_that_cannot_be_drawn_are_refused(name):
    rows, module, info = case(name)
    with pytest.raises(UserError, match=f"figure {name}: given columns"):
        module.make(rows.drop(columns=rows.columns[-1]), info)
    with pytest.raises(UserError, match="given no rows"):
        module.make(rows.iloc[:0], info)


def panel(fig: Figure, label: str):
    return next(ax for ax in fig.axes if ax.get_label() == label)


def test_weights_draws_numbers_bars_and_the_chosen_weight_of_each_space():
    rows, module, info = case("weights", variants=["cfg", "cg"])
    ax = panel(module.make(rows, info), "fid@classifier")
    mine = rows[(rows["variant"] == "cfg") & (rows["metric"] == "fid@classifier")]
    line = next(li for li in ax.lines if li.get_label() == "cfg")
    assert list(line.get_xdata()) == [0.5, 1.0, 1.5, 2.0] == list(mine["offset"])
    assert line.get_ydata() == pytest.approx(mine["value"].to_numpy())
    bars = next(c for c in ax.collections if len(c.get_segments()) == 4).get_segments()
    assert [tuple(b[:, 1]) for b in bars] == [
        pytest.approx(t) for t in zip(mine["lo"], mine["hi"], strict=True)
    ]
    rings = [tuple(p) for li in ax.lines if li.get_markersize() == 6.5 for p in li.get_xydata()]
    assert {r[0] for r in rings} == {1.0, 2.0}  # CFG at w 2, CG at 2 in these features and at 1 in the others
    other = panel(module.make(rows, info), "fid@lite0")
    assert {p[0] for li in other.lines if li.get_markersize() == 6.5 for p in li.get_xydata()} == {1.0}


def test_what_is_far_worse_than_no_guidance_is_written_not_drawn_to_scale():
    rows, module, info = case("weights", variants=["autog", "dg"])
    ax = panel(module.make(rows, info), "fid@lite0")
    worst = rows[(rows["metric"] == "fid@lite0")]["value"].max()
    assert ax.get_ylim()[1] < worst and any(
        f"{worst:.0f}" in t.get_text() and t.get_text().endswith("↑") for t in ax.texts
    )


def test_a_sum_of_methods_is_not_joined_to_no_guidance():
    rows, module, info = case("weights", variants=["autog", "dg_autog"])
    assert not rows.loc[rows["variant"] == "dg_autog", "starts"].any()
    ax = panel(module.make(rows, info), "fid@lite0")
    joins = [
        li
        for li in ax.lines
        if len(li.get_xdata()) == 2 and li.get_xdata()[0] == 0 and li.get_xdata()[1] == 0.5
    ]
    assert [li.get_color() for li in joins] == [looks.look("autog").color]


def test_planes_have_a_curve_for_each_method():
    rows, module, info = case("precision_recall")
    ax = panel(module.make(rows, info), "lite0")
    recall, precision = (
        rows[(rows["variant"] == "cfg") & (rows["metric"] == f"{m}@lite0")] for m in ("recall", "precision")
    )
    line = next(li for li in ax.lines if li.get_label() == "cfg")
    assert line.get_xydata().tolist() == [
        pytest.approx(p) for p in zip(recall["value"], precision["value"], strict=True)
    ]
    assert "more diverse" in ax.get_xlabel() and {"1.5", "3"} <= {t.get_text() for t in ax.texts}


def test_lines_join_the_points_named():
    rows, module, info = case("ema")
    assert list(rows["line"].unique()) == ["main", "guide"] and len(rows) == 12
    ax = panel(module.make(rows, info), "fid@lite0")
    line = next(li for li in ax.lines if li.get_label() == "guide")
    autog = ROWS[(ROWS["variant"] == "autog") & (ROWS["w"] == 2) & (ROWS["metric"] == "fid@lite0")]
    expected = autog[autog["seed_block"] != "select"]["value"].mean()
    assert line.get_xdata()[1] == 0.1 and line.get_ydata()[1] == pytest.approx(expected, rel=1e-3)
    assert "EMA length" in ax.get_xlabel()


def test_lines_of_one_variant_keep_its_look_and_levels_lie_across():
    rows, module, info = case("guides")
    fig = module.make(rows, info)
    ax = panel(fig, "fid@lite0")
    assert (
        next(li for li in ax.lines if li.get_label() == "autoguidance").get_color()
        == looks.look("autog").color
    )
    level = rows[(rows["kind"] == "level") & (rows["metric"] == "fid@lite0")].iloc[0]
    assert any(len(set(li.get_ydata())) == 1 and li.get_ydata()[0] == level["value"] for li in ax.lines)
    assert "no guidance" in texts(fig)


def test_step_counts_mix_only_when_asked():
    rows, module, info = case("nfe")
    assert panel(module.make(rows, info), "fid@lite0").get_xscale() == "log"
    with pytest.raises(UserError, match="figure nfe: steps differs"):
        case("nfe", steps_differ=False)
    rows = ROWS.assign(steps=ROWS["steps"].where(ROWS["variant"] != "dg", 18))
    with pytest.raises(UserError, match="figure weights: steps differs"):
        weights.rows(tables(rows), job("weights"))


def test_lines_use_the_trainings_that_all_points_have():
    rows = images(2)
    less = rows[(rows["train_seed"] == 0) | ~rows["variant"].str.startswith(("main_", "guide_"))]
    made = lines.rows(tables(less, chosen(less)), job("ema"))
    assert set(made["n_trainings"]) == {1} and set(lines.rows(tables(rows), job("ema"))["n_trainings"]) == {2}
    apart = less[(less["train_seed"] == 1) | (less["variant"] != "none")]
    with pytest.raises(UserError, match="no training in common"):
        lines.rows(tables(apart, chosen(apart)), job("ema"))


def test_points_that_are_none_are_named():
    with pytest.raises(UserError, match=r"figure ema: point autog/w9\.00 was not measured; did you mean"):
        case("ema", lines={"a": [[1, "autog/w9.00"]]})
    with pytest.raises(UserError, match="is no point; wanted VARIANT/wWEIGHT"):
        case("ema", lines={"a": [[1, "autog/two"]]})


def test_grids_draw_the_pixels_they_are_given():
    rows, module, info = case("grid")
    arrays = grid_arrays([p for _, p in POINTS])
    fig = module.make(rows, info)
    assert len(fig.axes) == 3 and len(rows) == 18
    shown = panel(fig, "cfg/w2.00").images[0].get_array()
    image = arrays["images/cfg/w2.00"][3, 0]
    at = 3 * (image.shape[1] + max(1, image.shape[1] // 14))
    assert np.array_equal(shown[:, at : at + image.shape[1]], image)
    words = texts(fig).replace("\n", " ")
    assert "no guidance" in words and "CFG, w = 2" in words and "differ most" in words


def test_the_columns_that_differ_most_are_shown():
    arrays = grid_arrays([p for _, p in POINTS])
    same = {f"images/{p}": np.array(arrays[f"images/{POINTS[0][1]}"]) for _, p in POINTS}
    same["images/cfg/w2.00"][[5, 1]] = 255 - same["images/cfg/w2.00"][[5, 1]]
    rows = grid.rows({**arrays, **same}, job("grid"))
    image = pd.Series(
        [pictures.pixels(r, "grid") for r in rows.to_dict("records")], index=rows.index, dtype=object
    )
    most = pictures.different(rows.assign(image=image))
    assert len(most) == 6 and {1, 5} <= set(most)
    pictures.SHOWN, kept = 2, pictures.SHOWN
    try:
        assert pictures.different(rows.assign(image=image)) == [1, 5]
    finally:
        pictures.SHOWN = kept


def test_variety_has_the_first_of_each_class_side_by_side():
    rows, module, info = case("variety", labels=[3, 8], n=3, class_names=["a", "b", "c", "dress"])
    first = rows[rows["row"] == 0]
    assert list(first["class"]) == [3, 3, 3, 8, 8, 8] and list(first["seed"] % 10) == [3, 3, 3, 8, 8, 8]
    assert (rows.groupby("column")["seed"].nunique() == 1).all()
    words = texts(module.make(rows, info))
    assert "dress" in words and "class 8" in words and "the first 3 of each class" in words
    with pytest.raises(UserError, match="holds 4 images of class 3, wanted 5"):
        case("variety", labels=[3], n=5)
    with pytest.raises(UserError, match=r"no array 'images/dg/w1\.00'"):
        case("grid", points=[["DG", "dg/w1.00"]])


def test_colour_and_large_images_are_kept_small():
    image = np.arange(3 * 128 * 128, dtype=np.float64).reshape(3, 128, 128) % 256
    arrays = {
        "images/none": image[None].repeat(2, 0).astype(np.uint8),
        "seeds": np.arange(2),
        "labels": np.zeros(2),
    }
    rows = grid.rows(arrays, job("grid", points=[["none", "none"]], n=2))
    assert tuple(rows.iloc[0][["channels", "height", "width"]]) == (3, 64, 64)
    shown = grid.make(rows, job("grid", n=2)).axes[0].images[0].get_array()
    assert shown.shape == (64, 64 + 4 + 64, 3) and shown[0, 0, 0] == round(float(image[0, :2, :2].mean()))
    broken = rows.assign(pixels="00ff")
    with pytest.raises(UserError, match="2 bytes, wanted 3 x 64 x 64"):
        grid.make(broken, job("grid", n=2))
