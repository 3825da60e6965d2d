"""Plugins: names that lead to code. Nothing but plugins/ of the working tree and installed packages is ever imported."""

import copy
import os
import re
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from guidelab import digest, registry
from guidelab.costs import flops
from guidelab.costs.configs import denoiser_config
from guidelab.costs.levels import evaluations
from guidelab.errors import UserError
from guidelab.plan.build import measure
from guidelab.plan.plan import Plan
from guidelab.registry import plugins
from guidelab.spec.load import load_spec, spec_of
from guidelab.spec.reading import read_yaml

ROOT = Path(__file__).parents[2]
RAW = read_yaml(ROOT / "params.yaml")["experiments"]
TRAP = "from pathlib import Path\nPath(r'{mark}').touch()\n"
GUIDANCE = """
    class Damped:
        needs, neutral = "ref", 1.0

        def __init__(self, ref, weight, power=1.0):
            self.ref, self.weight, self.power = ref, weight, power

        def delta(self, x, sigma, cond, main_out): ...

        def at_step(self, sigma): ...
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A working tree with a folder of plugins, and a file that malicious code creates when it runs."""
    for name in ("workflow", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "plugins").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(plugins.FOLDER, raising=False)
    monkeypatch.delenv(plugins.ALLOWED, raising=False)
    yield tmp_path
    plugins_loaded = [name for name in sys.modules if name.split(".")[0] == "plugins"]
    for name in plugins_loaded:
        del sys.modules[name]
    os.environ.pop(plugins.FOLDER, None)


def plugin(tree, text, name="mine"):
    (tree / f"plugins/{name}.py").write_text(textwrap.dedent(text))


def params(change):
    raw = {"default": ["toy2d"], "experiments": {n: copy.deepcopy(RAW[n]) for n in ("toy2d", "toy2d_ci")}}
    change(raw["experiments"]["toy2d_ci"])
    return raw


def method(name):
    return params(
        lambda e: e["variants"].update(
            own={"main": "main", "guide": {"method": name, "ref": "weak"}, "weights": [2.0]}
        )
    )


def test_a_guidance_of_a_plugin_is_planned_with_its_options_and_its_code(tree, capsys):
    plugin(tree, GUIDANCE)
    plan = Plan(spec_of(method({"name": "plugins.mine:Damped", "power": 0.5}), "params.yaml"))
    job = plan.job("sample", "toy2d_ci", "own", "w2.00", "seeds0-1")
    assert job.spec["terms"][0]["options"] == {"power": 0.5} and "plugins.mine" in job.modules
    assert (
        measure._row(plan.experiment("toy2d_ci"), plan.experiment("toy2d_ci").runs_at("own/w2.00")[0])[
            "w_neutral"
        ]
        == 1.0
    )
    assert "guidelab: plugin plugins.mine" in capsys.readouterr().err
    before = digest.Tree(ROOT / "src/guidelab").digest("sample", job.modules)
    plugin(tree, GUIDANCE.replace("= ref, weight, power", "= ref, weight, 2 * power"))
    assert digest.Tree(ROOT / "src/guidelab").digest("sample", job.modules) != before
    plugin(tree, GUIDANCE + "\n    # a comment\n")
    assert digest.Tree(ROOT / "src/guidelab").digest("sample", job.modules) == before


@pytest.mark.parametrize("options", [{"powr": 0.5}, {"ref": 1}])
def test_options_that_a_plugin_does_not_take_are_refused(tree, options):
    plugin(tree, GUIDANCE)
    with pytest.raises(UserError, match=r"toy2d_ci.variants.own.guide.0.method: plugins.mine:Damped: "):
        spec_of(method({"name": "plugins.mine:Damped", **options}), "params.yaml")


def test_options_are_validated_by_the_plugins_pydantic_model(tree):
    plugin(
        tree,
        GUIDANCE
        + "\n    import pydantic\n    class O(pydantic.BaseModel):\n        power: float\n    Damped.Options = O\n",
    )
    with pytest.raises(UserError, match=r"own.guide.0.method: plugins.mine:Damped: .*power"):
        spec_of(method({"name": "plugins.mine:Damped", "power": "much"}), "params.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "os:system", "subprocess:run", "plugins:mine", "plugins.../../x:y", "plugins.mine:os.system", "plugins..mine:X",
        "guidelab.io:sha256", "plugins.mine", "trap:X", "plugins/mine:X", "plugins.mine:__import__('os')", "../trap:X",
    ],
)  # fmt: skip
def test_no_other_dotted_name_runs_code(tree, name):
    mark = tree / "ran"
    (tree / "trap.py").write_text(TRAP.format(mark=mark))
    (tree / "x.py").write_text(TRAP.format(mark=mark))
    for raw in (
        method(name),
        method({"name": name, "command": "true"}),
        params(lambda e: e["evaluate"].update(metrics=[name])),
        params(lambda e: e.update(sampler={"name": name})),
        params(lambda e: e.update(dataset={"name": name})),
        params(lambda e: e["denoisers"]["s"].update(net={"name": name, "width": 4, "layers": 1})),
        params(lambda e: e["paper"]["figures"].update(own={"name": name})),
        params(lambda e: e["paper"]["figures"].update({"../../own": {"name": "plugins.mine:X"}})),
    ):
        with pytest.raises(UserError):
            spec_of(raw, "params.yaml")
    assert not mark.exists()


def test_no_link_leads_out_of_the_folder(tree, tmp_path_factory):
    outside, mark = tmp_path_factory.mktemp("outside"), tree / "ran"
    (outside / "mine.py").write_text(TRAP.format(mark=mark))
    (tree / "plugins/mine.py").symlink_to(outside / "mine.py")
    with pytest.raises(UserError, match="is a link to"):
        spec_of(method("plugins.mine:X"), "params.yaml")
    (tree / "plugins/mine.py").unlink()
    (tree / "plugins").rmdir()
    (tree / "plugins").symlink_to(outside)
    with pytest.raises(UserError, match="is a link to"):
        spec_of(method("plugins.mine:X"), "params.yaml")
    assert not mark.exists()


def test_plugins_of_another_folder_need_permission(tree, tmp_path_factory, monkeypatch):
    other, mark = tmp_path_factory.mktemp("other"), tree / "ran"
    (other / "plugins").mkdir()
    (other / "plugins/mine.py").write_text(TRAP.format(mark=mark) + textwrap.dedent(GUIDANCE))
    (tree / "plugins/mine.py").write_text(TRAP.format(mark=mark))
    (other / "params.yaml").write_text(yaml.safe_dump(method("plugins.mine:Damped")))
    with pytest.raises(UserError, match="GUIDELAB_PLUGINS=1"):
        load_spec(other / "params.yaml")
    assert not mark.exists()
    monkeypatch.setenv(plugins.ALLOWED, "1")
    load_spec(other / "params.yaml")
    assert mark.exists() and os.environ[plugins.FOLDER] == str(other / "plugins")


def test_a_plugin_that_fails_is_one_message(tree):
    plugin(tree, "1 / 0\n")
    with pytest.raises(UserError, match=r"mine.py cannot be imported \(ZeroDivisionError"):
        spec_of(method("plugins.mine:X"), "params.yaml")
    plugin(tree, "x = 1\n", "other")
    with pytest.raises(UserError, match=r"other.py has no 'X'"):
        spec_of(method("plugins.other:X"), "params.yaml")
    with pytest.raises(UserError, match="wanted a file"):
        spec_of(method("plugins.absent:X"), "params.yaml")


def test_installed_packages_provide_names_by_entry_points(tree, monkeypatch):
    monkeypatch.setattr(
        plugins,
        "installed",
        lambda kind: {"theirs": "guidelab.core.guidance.reference:Reference"} if kind == "guidance" else {},
    )
    assert registry.entry("method", "theirs").module == "guidelab.core.guidance.reference"
    with pytest.raises(UserError, match="method 'their' is not known"):
        registry.entry("method", "their")
    assert plugins.version_of("yaml.loader").lower().startswith("pyyaml ")


def test_names_of_a_net_an_extractor_and_a_dataset_of_plugins_are_planned(tree):
    plugin(
        tree,
        """
        def prepare(split, resolution_px, source, cache, n=None, seed=0): ...
        class Net:
            def __init__(self, resolution_px, image_channels, classes, width=8, generator=None): ...
            def forward(self, x, sigma, cond): ...
        class Features:
            def __init__(self, size_px=None): ...
            def __call__(self, images): ...
        """,
    )
    raw = {
        "default": ["fashion"],
        "experiments": {n: copy.deepcopy(RAW[n]) for n in ("fashion", "fashion_ci")},
    }
    e = raw["experiments"]["fashion_ci"]
    e["dataset"] = {"name": "plugins.mine:prepare"}
    e["features"]["lite0"] = {"name": "plugins.mine:Features", "size_px": None}
    raw["experiments"]["fashion"]["denoisers"]["xs_uncond"]["net"] = {"name": "plugins.mine:Net", "width": 4}
    e["denoisers"]["xs_uncond"].pop("net")
    plan = Plan(spec_of(raw, "params.yaml"))
    assert plan.job("train", "fashion_ci", "xs_uncond", "seed0").modules == (
        "plugins.mine",
        "guidelab.jobs.image_learner",
    )
    assert "plugins.mine" in plan.job("prepare", "fashion_ci", "train").modules
    assert "plugins.mine" in plan.job("extract", "fashion_ci", "lite0", "data/reference").modules
    raw["experiments"]["fashion"]["denoisers"]["xs_uncond"]["net"]["depth"] = 1
    with pytest.raises(UserError, match=r"xs_uncond.net: plugins.mine:Net: .*depth"):
        spec_of(raw, "params.yaml")


SAMPLER = """
    from guidelab.sampling.continuous import Continuous

    class Euler(Continuous):
        evaluations = (1, 1)

        def __init__(self, job, nets, factor=1.0):
            super().__init__(job, nets)
            self.factor = factor
"""


OF_POINTS = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width, generator=None):
            super().__init__()
            self.out = nn.Linear(width, 2)

        def forward(self, x, sigma, cond=None):
            return self.out(x.new_ones(len(x), self.out.in_features))

    class Energy(Net):
        def log_density(self, x, sigma): ...
        def score(self, x, sigma): ...

    class OfImages(Net):
        def __init__(self, resolution_px, width, generator=None):
            super().__init__(width, generator)
"""


def of_points(name, net, **train):
    """toy2d_ci with a guide's net of a plugin."""

    def change(e):
        e["denoisers"]["own"] = copy.deepcopy(RAW["toy2d"]["denoisers"]["xs"])
        e["denoisers"]["own"] |= {"net": {"name": name, **net}}
        e["denoisers"]["own"]["train"] |= train
        e["models"]["mine"] = {"denoiser": "own", "nimg": "2Mi", "ema_std": 0.010}
        e["variants"]["own"] = {
            "main": "main",
            "guide": {"method": "reference", "ref": "mine"},
            "weights": [2.0],
        }
        e["paper"]["figures"]["fig9"] = {"autog": "mine"}

    return spec_of(params(change), "params.yaml")


def test_a_net_of_points_is_planned_and_counted_and_needs_what_figures_draw(tree):
    plugin(tree, OF_POINTS)
    plan = Plan(of_points("plugins.mine:Energy", {"width": 6}))
    (part,) = plan.experiment("toy2d_ci").parts("own")
    job = plan.job("train", "toy2d_ci", "own", part)
    assert {"plugins.mine", "guidelab.jobs.point_learner", "guidelab.data.toy2d"} <= set(job.modules)
    assert job.spec["net"] == {"name": "plugins.mine:Energy", "width": 6} and not job.inputs
    config = denoiser_config(plan.experiment("toy2d_ci").spec, "own")
    assert flops.count(config).parameters == 14
    for name, net, train, wanted in (
        ("Net", {"width": 6}, {}, r"figures.fig9: draws the density of model 'mine', .* lacks log_density"),
        ("Energy", {"width": 6, "depth": 1}, {}, r"own.net: plugins.mine:Energy: .*depth"),
        ("OfImages", {"width": 6}, {}, r"own.net: plugins.mine:OfImages: .*resolution_px"),
        ("Energy", {"width": 6}, {"flip": True}, r"own.train.flip: given True, wanted it left out: points"),
        ("Energy", {"width": 6}, {"loss": "edm"}, r"own.train.loss: given 'edm', .* exact score"),
    ):
        with pytest.raises(UserError, match=wanted):
            of_points(f"plugins.mine:{name}", net, **train)
    with pytest.raises(
        UserError, match=r"own.net.name: given 'toy_discriminator', wanted toy, or a net of plugins/"
    ):
        of_points("toy_discriminator", {"width": 6, "layers": 1})


def test_the_documented_net_of_points_is_planned(tree):
    text = (ROOT / "docs/own-data.md").read_text().partition("### A net on points")[2]
    code, entry = (re.findall(rf"```{kind}\n(.*?)```", text, re.S)[0] for kind in ("python", "yaml"))
    plugin(tree, code, "perceptron")
    raw = {"default": ["toy2d_mine"], "experiments": {"toy2d": RAW["toy2d"], **yaml.safe_load(entry)}}
    plan = Plan(spec_of(raw, "params.yaml"))
    assert "plugins.perceptron" in plan.job("train", "toy2d_mine", "mine", "seeds0-4").modules
    assert (
        "results/toy2d_mine/models/mine.safetensors"
        in plan.job("sample", "toy2d_mine", "autog_mine", "w2.00", "seeds0-4").files
    )


def sampled(name, **options):
    """toy2d_ci with a sampler of a plugin, and a term of its first evaluations."""
    guide = {"method": "reference", "ref": "weak", "stages": "first"}
    return params(
        lambda e: (
            e.update(sampler={"name": name, **options}),
            e["variants"].update(own={"main": "main", "guide": guide, "weights": [2.0]}),
        )
    )


def test_a_sampler_of_a_plugin_is_planned_with_its_options_its_code_and_its_evaluations(tree):
    plugin(tree, SAMPLER)
    plan = Plan(spec_of(sampled("plugins.mine:Euler", factor=0.5), "params.yaml"))
    job = plan.job("sample", "toy2d_ci", "own", "w2.00", "seeds0-1")
    sampler = job.spec["sampler"]
    assert sampler["options"] == {"factor": 0.5} and "plugins.mine" in job.modules
    assert registry.evaluations(sampler) == (1, 1) and evaluations(sampler) == sampler["steps"]
    row = plan.job("measure", "toy2d_ci", "own", "w2.00", "seeds0-1").spec["row"]
    assert row["w_effective"] == row["w"]  # one slope a step: its weight acts whole
    assert not plan.experiment("toy2d_ci").has_density("own")
    with pytest.raises(UserError, match=r"toy2d_ci.sampler: plugins.mine:Euler: .*fctor"):
        spec_of(sampled("plugins.mine:Euler", fctor=0.5), "params.yaml")


METRIC = """
    class Spread:
        {label}
        direction = {direction!r}
        needs = {needs!r}

        def __call__(self, generated, reference, names, **how):
            return []
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            METRIC.format(label="", direction="lower", needs="real"),
            "plugins.mine:Spread: has no `label`; wanted",
        ),
        (
            METRIC.format(label="label = 'x'", direction="down", needs="real"),
            "has direction = 'down', wanted one of",
        ),
        (
            METRIC.format(label="label = 'x'", direction="none", needs="reel"),
            "needs 'reel', wanted words of real,",
        ),
        (
            "class Spread:\n    label, direction = 'x', 'lower'\n",
            "has no `__call__`; wanted a class with __call__",
        ),
        ("Spread = 1\n", "is a int, wanted a class or a function"),
        ("class Spread\n", r"mine.py cannot be imported \(SyntaxError: .*line 1"),
    ],
)
def test_a_metric_of_a_plugin_without_its_shape_is_one_line(tree, text, said):
    plugin(tree, text)
    raw = {
        "default": ["fashion"],
        "experiments": {n: copy.deepcopy(RAW[n]) for n in ("fashion", "fashion_ci")},
    }
    measured = raw["experiments"]["fashion"]["evaluate"]["metrics"]
    raw["experiments"]["fashion_ci"]["evaluate"]["metrics"] = [*measured, "plugins.mine:Spread@lite0"]
    with pytest.raises(UserError, match=said) as error:
        spec_of(raw, "params.yaml")
    assert len(str(error.value).strip().splitlines()) == 1
    assert "experiments.fashion_ci.evaluate.metrics" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (
            "sampler",
            "class X:\n    def __call__(self): ...\n",
            "has no `scaled`; wanted a class with scaled and __call__",
        ),
        (
            "sampler",
            SAMPLER.replace("Euler", "X").replace("(1, 1)", "2"),
            "has evaluations = 2, wanted two whole numbers",
        ),
        (
            "method",
            "class X:\n    needs = 'rev'\n    def delta(self): ...\n    def at_step(self): ...\n",
            "has needs = 'rev'",
        ),
        ("method", "class X:\n    def delta(self): ...\n", "has no `at_step`"),
        ("figure", "def X(rows, info): ...\ndef rows(given, info): ...\n", "no function `make`"),
        ("dataset", "def X(split): ...\n", "is named 'X', wanted a function `prepare`"),
        ("extractor", "class X: ...\n", "has no `__call__`"),
        ("net", "class X: ...\n", "has no `forward`"),
    ],
)
def test_a_plugin_of_another_shape_is_refused(tree, kind, text, said):
    plugin(tree, text)
    with pytest.raises(UserError, match=f"^here: plugins.mine:X: .*{said}"):
        registry.entry(kind, "plugins.mine:X", "here")


def test_an_installed_package_cannot_take_a_name_that_is_built_in(tree, monkeypatch):
    monkeypatch.setattr(
        plugins, "installed", lambda kind: {"heun": "theirs:Heun"} if kind == "sampler" else {}
    )
    with pytest.raises(UserError, match=r"^here: sampler 'heun' is built in, and an installed package"):
        registry.entry("sampler", "heun", "here")
    monkeypatch.undo()


def test_a_former_name_of_a_method_is_refused_with_the_present_one(tree):
    with pytest.raises(
        UserError, match=r"own.guide.0.method: given 'leading', wanted .*reference.*`channels: 3`"
    ):
        spec_of(method("leading"), "params.yaml")
    raw = method("projected")
    raw["experiments"]["toy2d_ci"]["variants"]["own"]["guide"]["channels"] = 3
    with pytest.raises(
        UserError, match=r"own.guide.0.channels: given 3 with method 'projected', wanted method ref"
    ):
        spec_of(raw, "params.yaml")
