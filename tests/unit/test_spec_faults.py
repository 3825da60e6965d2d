"""An invalid params.yaml never passes the check to fail after hours or to give meaningless numbers."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import yaml

from guidelab.core.chain import respaced, schedule_of
from guidelab.core.schedules import edm_sigmas
from guidelab.costs.graph import jobs_for
from guidelab.errors import UserError
from guidelab.paper import published as published_values
from guidelab.plan.plan import Plan
from guidelab.spec.levels import acting, chain_levels, edm_levels, rounded
from guidelab.spec.load import load_spec, remarks, spec_of
from guidelab.spec.reading import read_yaml

ROOT = Path(__file__).parents[2]
RAW = read_yaml(ROOT / "params.yaml")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def loaded(name, change=lambda e: None, text=None, tmp_path=None):
    """The spec of one shipped experiment and what it extends, after a change."""
    chain = [name]
    while "extends" in RAW["experiments"][chain[-1]]:
        chain.append(RAW["experiments"][chain[-1]]["extends"])
    raw = {
        "default": [chain[-1]],
        "experiments": {n: copy.deepcopy(RAW["experiments"][n]) for n in reversed(chain)},
    }
    change(raw["experiments"][name])
    return spec_of(raw, "params.yaml")


def refused(name, change):
    with pytest.raises(UserError) as error:
        loaded(name, change)
    return str(error.value)


def setting(*keys, to):
    def change(e):
        for key in keys[:-1]:
            e = e[key]
        e[keys[-1]] = to

    return change


TYPES = {
    "a boolean for a number": (setting("sampler", "steps", to=True), "sampler.steps: given True, wanted a valid integer"),
    "a boolean for a rate": (setting("denoisers", "s", "train", "lr", to=True), "s.train.lr: given True"),
    "a text for a number": (setting("sampler", "steps", to="32"), "sampler.steps: given '32'"),
    "a range for a list": (setting("denoisers", "s", "train", "seeds", to=["0-4"]), "list the numbers, as [0, 1, 2]"),
    "a number for a boolean": (setting("denoisers", "s", "train", "flip", to=1), "flip: given 1, wanted true or false"),
    "a broken number for a count": (setting("folds", "train", "n", to=10.5), "folds.train.n: given 10.5"),
    "an average of nothing": (setting("denoisers", "s", "train", "p_mean", to=float("nan")), "p_mean: given nan"),
    "a spacing without end": (setting("sampler", "rho", to=1e308), "sampler.rho: given 1e+308"),
    "a width no memory holds": (setting("denoisers", "s", "net", "width", to=10**9), "net.width: given 1000000000"),
    "a seed that repeats another": (setting("folds", "train", "seed", to=2**64), "folds.train.seed: given 18446744073709551616"),
    "a seed that is another's in 32 bits": (setting("folds", "train", "seed", to=2**32 + 13), "folds.train.seed: given"),
    "a training seed no file name holds": (
        setting("denoisers", "s", "train", "seeds", to=[0, 1234567890]), "seeds.1: given 1234567890"),
    "sample seeds beyond the generator's": (
        setting("evaluate", "blocks", "report1", to="4294967296-4294971391"), "wanted seeds below 4294967296"),
    "seeds backwards": (setting("evaluate", "blocks", "report1", to="9-2"), "blocks.report1: given 9-2, wanted the smaller seed"),
    "a metric twice": (setting("evaluate", "metrics", to=["frechet", "frechet"]), "given 'frechet' 2 times"),
    "a headline twice": (setting("paper", "headline", to=["none", "none"]), "headline: given 'none' 2 times"),
    "a weight twice": (setting("variants", "cfg", "weights", to=[1.5, 1.5, 2.0, 4.0]), "weights: given 1.5 2 times"),
    "a training seed twice": (setting("denoisers", "s", "train", "seeds", to=[0, 0]), "seeds: given 0 2 times"),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_no_value_of_another_type_or_size_is_read_as_a_number(name):
    change, expected = TYPES[name]
    assert expected in refused("toy2d", change)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("0400", "'0400'"), ("1:30", "'1:30'"), ("yes", "'yes'"), ("0x20", "'0x20'"), ("1_000", "'1_000'"),
        ("2001-01-01", "'2001-01-01'"), ("1" * 900_000, "characters"),
    ],
)  # fmt: skip
def test_no_number_is_read_as_yaml_1_1_reads_it(tmp_path, written, wanted):
    path = tmp_path / "params.yaml"
    text = f"default: [a]\nexperiments: {{a: {{sampler: {{name: heun, steps: {written}}}}}}}\n"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_spec(path)
    line = next((x for x in str(error.value).splitlines() if "sampler.steps" in x), str(error.value))
    assert wanted in line or "cannot be read as YAML" in line
    assert len(str(error.value)) < 4000


def test_numbers_of_yaml_1_2_are_numbers(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1e-2\nb: -0.5\nc: 12\nd: .5\ne: true\nf: ~\ng: 1.0e-2\n")
    assert read_yaml(path) == {"a": 0.01, "b": -0.5, "c": 12, "d": 0.5, "e": True, "f": None, "g": 0.01}


def guide(**keys):
    return lambda e: e["variants"]["cfg"]["guide"].update(keys)


def test_no_interval_is_empty_of_steps():
    message = refused("toy2d", guide(sigma_lo=50.0))
    assert "variants.cfg.guide.0: acts in (50.0, inf], in which no step of the sampler starts" in message
    assert "no step" in refused("toy2d", guide(sigma_lo=0.21, sigma_hi=0.24))
    assert "no step" in refused("imagenet256", lambda e: e["variants"]["cfg"]["guide"].update(sigma_lo=200.0))
    loaded("toy2d", guide(sigma_lo=0.19, sigma_hi=0.24))


def test_a_step_at_the_lower_bound_is_never_guided_and_one_at_the_upper_always():
    assert acting((4.0, 2.0, 1.0, 0.5), 1.0, 4.0) == [0, 1]  # as core.guidance's interval: (low, high]
    assert acting((4.0, 2.0, 1.0, 0.5), 0.0, None) == [0, 1, 2, 3]


def test_no_net_guides_itself():
    assert "variants.cfg.guide.0.ref: given 'main', wanted another net" in refused("toy2d", guide(ref="main"))
    twin = lambda e: (e["models"].update(twin=dict(e["models"]["main"])), guide(ref="twin")(e))  # noqa: E731
    assert "which is the net of main 'main' under another name" in refused("toy2d", twin)

    def renamed(e):
        e["denoisers"]["copy"] = copy.deepcopy(e["denoisers"]["s"])
        e["models"]["copy"] = e["models"]["main"] | {"denoiser": "copy"}
        guide(ref="copy")(e)

    assert "under another name" in refused("toy2d", renamed)
    loaded("fashion_ablations")  # `independent` evaluates the same net with another class


def test_a_grader_shares_no_image_with_a_guide_under_any_fold_names():
    def again(e):
        e["folds"]["again"] = dict(e["folds"]["graded"])
        e["discriminators"]["guide"]["real"] = "again"

    assert "the fold of 'guide'; a grader shares no real data with a guide" in refused("fashion", again)
    other_seed = lambda e: (again(e), e["folds"]["again"].update(seed=99))  # noqa: E731
    assert "shares no real data" in refused("fashion", other_seed)

    def on_its_extractor(e):
        e["folds"]["train2"] = {"split": "train", "n": 100, "seed": 3}
        e["discriminators"]["guide_frozen"]["real"] = "train2"

    assert "evaluated on its training images" in refused("fashion_ablations", on_its_extractor)


@pytest.mark.parametrize(("name", "classes"), [("fashion", 11), ("fashion", 5), ("cifar10", 100)])
def test_no_class_is_drawn_that_the_data_have_not(name, classes):
    assert f"dataset.classes: given {classes}, wanted 10" in refused(
        name, setting("dataset", "classes", to=classes)
    )


def test_a_released_file_has_the_lengths_of_its_entry():
    wrong = "edm2-img512-s-2147483-0.130"
    change = setting("models", "s_190", "checkpoint", to=wrong)
    assert (
        "models.s_190.ema_std: given 0.190, but edm2-img512-s-2147483-0.130 has the EMA length 0.130"
        in refused("imagenet512", change)
    )
    short = setting("models", "xs_160", "checkpoint", to="edm2-img512-xs-0134217-0.165")
    assert "models.xs_160.nimg: given 2147483648" in refused("imagenet512", short)
    small = setting(
        "models", "s_130", to={"denoiser": "xs", "nimg": "2048Mi", "ema_std": 0.13, "checkpoint": wrong}
    )
    assert "of size S, wanted size XS" in refused("imagenet512", small)


def test_published_rows_go_by_their_exact_name():
    for row, said in (
        ("EDM2-S [fidd]", "wanted one of its metrics: fid, fd_dinov2"),
        ("EDM2-s [fid]", "did you mean 'EDM2-S'?"),
        ("EDM2-S [fid", "given 'EDM2-S [fid', wanted a row of imagenet512"),
    ):
        assert said in refused("imagenet512", setting("paper", "published", "none", to=[row]))


def test_a_copy_of_a_papers_experiment_keeps_its_published_rows():
    raw = {
        "default": ["mine"],
        "experiments": {"imagenet64": RAW["experiments"]["imagenet64"], "mine": {"extends": "imagenet64"}},
    }
    table = Plan(spec_of(raw, "params.yaml")).job("table", "mine").spec
    assert table["published_experiment"] == "imagenet64" and table["published"]


def test_an_experiment_under_a_new_name_without_published_values_is_planned_and_one_with_them_refused():
    own = copy.deepcopy(RAW["experiments"]["imagenet64"])
    with pytest.raises(UserError, match="published_experiment: given 'mine', wanted an experiment with rows"):
        spec_of({"default": ["mine"], "experiments": {"mine": own}}, "params.yaml")
    del own["paper"]["published"]
    plan = Plan(spec_of({"default": ["mine"], "experiments": {"mine": own}}, "params.yaml"))
    table = plan.job("table", "mine")
    assert "published" not in table.spec and "published" not in table.inputs


def test_unknown_keys_at_the_top_are_refused_with_the_closest():
    with pytest.raises(
        UserError, match=r"defaults: unknown key; wanted one of default, experiments; did you mean 'default'"
    ):
        spec_of({**RAW, "defaults": ["toy2d"]}, "params.yaml")


@pytest.mark.parametrize(
    "raw",
    [
        {**RAW, "default": [f"unknown{i}" for i in range(40_000)]},
        {"default": ["a"], "experiments": {f"unknown{i}": {} for i in range(40_000)}},
        {**RAW, "default": [f"toy2{i}" for i in range(250)]},
        {"default": ["a"], "experiments": {f"a{i}": {"scale": "x" * 900_000} for i in range(3)}},
        {"default": ["a"], "experiments": {f"a{i}": {"extends": f"a{i + 1}"} for i in range(200)}},
    ],
)
def test_of_many_mistakes_twenty_are_printed_and_the_rest_counted(raw):
    with pytest.raises(UserError) as error:
        spec_of(raw, "params.yaml")
    lines = str(error.value).splitlines()
    assert len(lines) <= 21 and len(str(error.value)) < 15_000
    assert len(lines) < 21 or lines[-1].endswith("more mistakes; correct these first")


def test_too_many_experiments_are_the_only_mistake_named():
    """Not those of experiments that are right: none of them was read."""
    raw = {**RAW, "experiments": RAW["experiments"] | {f"more{i}": {} for i in range(300)}}
    with pytest.raises(UserError) as error:
        spec_of(raw, "params.yaml")
    count = len(raw["experiments"])
    assert (
        str(error.value)
        == f"params.yaml: experiments: given {count} experiments, wanted at most 256 in one file"
    )


@pytest.mark.parametrize("label", ["$\\foo{$", "a\nb", "\x1b[31m", "_hidden", ""])
def test_no_label_breaks_a_figure(label):
    change = setting("paper", "figures", "grid", "points", to=[[label, "none"]])
    assert "grid.points.0.0" in refused("fashion", change)


def test_names_that_are_other_experiments_tables_are_refused():
    raw = {"default": ["x_costs"], "experiments": {"x_costs": RAW["experiments"]["toy2d"]}}
    with pytest.raises(UserError, match=r"experiments\.x_costs: given 'x_costs', wanted another name"):
        spec_of(raw, "params.yaml")


@pytest.mark.parametrize("name", ["tables", "figures", "Tables"])
def test_no_experiment_has_the_name_of_a_folder_of_all(name):
    """Its table of measurements would be another experiment's table."""
    raw = {"default": [name], "experiments": {name: RAW["experiments"]["toy2d"]}}
    with pytest.raises(
        UserError, match=rf"experiments\.{name}: given '{name}', wanted another name: results/{name.lower()}"
    ):
        spec_of(raw, "params.yaml")


@pytest.mark.parametrize("name", ["a/b", "", "1", "a b", "-rf"])
def test_a_name_that_is_none_is_refused_in_words(name):
    """No pattern, no part of pydantic's own address, no advice for numbers."""
    raw = {
        "default": ["toy2d"],
        "experiments": {"toy2d": RAW["experiments"]["toy2d"], name: {"extends": "toy2d"}},
    }
    with pytest.raises(UserError) as error:
        spec_of(raw, "params.yaml")
    wanted = "wanted letters, digits and _, a letter first"
    assert f"experiments.{name}: given {name!r}, {wanted}" in str(error.value).splitlines()[0]
    assert str(error.value).splitlines()[0].endswith(wanted)


@pytest.mark.parametrize(
    ("text", "holds"), [("", "nothing"), ("# x\n", "nothing"), ("- a\n", "a list"), ("hello\n", "text")]
)
def test_a_file_that_is_no_mapping_is_refused_in_words(tmp_path, text, holds):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError, match=f"p.yaml: holds {holds}, wanted a mapping"):
        load_spec(tmp_path / "p.yaml")


def test_a_weight_has_no_sign_of_zero():
    spec = loaded("toy2d", lambda e: e["variants"]["dg"].update(weights=[-0.0, 1.0, 2.0]))
    assert str(spec.experiments["toy2d"].variants["dg"].weights[0]) == "0.0"


def test_patches_and_heads_must_fit():
    change = setting("denoisers", "dit", "net", "patch_px", to=3)
    assert "net.patch_px: given 3, wanted a divisor of 32" in refused("imagenet256", change)
    heads = setting("denoisers", "dit", "net", "heads", to=7)
    assert "net.width: given 1152 with 7 heads" in refused("imagenet256", heads)


@pytest.mark.parametrize(
    ("steps", "lo", "hi", "rho"), [(32, 0.002, 80.0, 7.0), (18, 0.002, 80.0, 7.0), (5, 0.01, 5.0, 1.0)]
)
def test_levels_are_those_of_the_sampler(steps, lo, hi, rho):
    assert edm_levels(steps, lo, hi, rho) == pytest.approx(
        edm_sigmas(steps, lo, hi, rho)[:-1].tolist(), rel=1e-12
    )


@pytest.mark.parametrize(
    ("steps", "schedule"), [(250, "linear"), (50, "cosine"), (1000, "linear"), (2, "linear"), (7, "cosine")]
)
def test_levels_are_those_of_the_chain(steps, schedule):
    exact = respaced(schedule_of(schedule), steps).sigmas[:-1].tolist()
    assert chain_levels(steps, schedule) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("variant", "steps"),
    [
        ("interval", (15, 21)),
        ("interval_fd", (13, 19)),
        ("xxl_interval", (17, 22)),
        ("xxl_interval_fd", (13, 19)),
    ],
)
def test_published_intervals_are_those_of_the_official_steps(variant, steps):
    e = loaded("imagenet512").experiments["imagenet512"]
    (term,) = e.variants[variant].guide
    found = acting(e.sampler.levels(), term.sigma_lo, term.sigma_hi)
    assert (found[0], found[-1]) == steps


def test_a_bound_that_is_a_rounded_level_is_remarked():
    spec = loaded(
        "imagenet512", lambda e: e["variants"]["interval"]["guide"].update(sigma_lo=0.28, sigma_hi=2.90)
    )
    found = list(remarks(spec))
    assert (
        len(found) == 2
        and "which is step 22's sigma 0.2830 but for rounding; steps 16 to 22 are guided" in found[0]
    )
    assert not list(remarks(load_spec(ROOT / "params.yaml")))
    levels = edm_levels(32, 0.002, 80.0, 7.0)
    assert rounded(levels, 2.9) == 15 and rounded(levels, 0.34) is None and rounded(levels, 1.61) == 17


def test_every_shipped_experiment_is_planned_with_all_its_jobs():
    plan = Plan(load_spec(ROOT / "params.yaml"))
    assert all(jobs_for(plan, [name], lambda path: False) for name in plan.spec.experiments)


def test_a_chain_of_extends_is_followed_once_each(tmp_path):
    written = {f"a{i}": {"extends": f"a{i + 1}"} for i in range(250)} | {"a250": RAW["experiments"]["toy2d"]}
    path = tmp_path / "params.yaml"
    path.write_text(
        yaml.safe_dump({"default": ["a250"], "experiments": {k: written[k] for k in ("a249", "a250")}})
    )
    assert load_spec(path).experiments["a249"].name == "a249"


def test_the_table_of_an_experiment_without_published_values_is_ours_alone():
    published = pd.read_csv(ROOT / "workflow/resources/published.csv")
    ours = pd.DataFrame({"section": ["a"], "value": [1.0]})
    spec = {"experiment": "mine", "scale": "full", "published": {}, "published_experiment": "mine"}
    assert published_values.append(ours, ours, published, spec) is ours


def test_an_experiment_is_never_a_default_twice():
    with pytest.raises(UserError, match=r"default: given 'toy2d' 2 times, wanted it once"):
        spec_of({"default": ["toy2d", "toy2d"], "experiments": {"toy2d": RAW["experiments"]["toy2d"]}}, "p")
