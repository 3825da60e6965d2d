"""Code of a user's own, one file each in plugins/ or an installed package, run through Snakemake: all seven kinds."""

import copy
import os
import re
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from tree import ROOT, Tree

from guidelab.io import load_arrays
from guidelab.spec.reading import read_yaml

GUIDANCE = """
    from guidelab.core.denoiser import at_step

    class Damped:
        needs, neutral = "ref", 1.0

        def __init__(self, ref, weight, power=1.0):
            self.ref, self.weight, self.power = ref, weight, power

        def delta(self, x, sigma, cond, main_out):
            return self.power * (self.weight - 1.0) * (main_out - self.ref(x, sigma, cond))

        def at_step(self, sigma):
            return Damped(at_step(self.ref, sigma), self.weight, self.power)
"""
METRIC = """
    from guidelab.metrics.value import Value

    def spread(x, *, reference, names, **_):
        return [(name, Value(float(x.std() / reference.std()), 0.01)) for name in names]

    spread.label, spread.direction, spread.definition = "spread", "higher", "Standard deviation over that of the data."
"""
FIGURE = """
    from matplotlib.figure import Figure

    def rows(tables, info):
        measurements = tables["measurements"]
        return measurements[measurements["metric"] == info["settings"]["metric"]][["variant", "w", "value"]]

    def make(rows, info):
        figure = Figure()
        figure.subplots().plot(rows["w"], rows["value"], "o")
        return figure
"""
DOCS = (ROOT / "docs/own-data.md").read_text()
NET = re.findall(r"`plugins/perceptron.py`:\n\n```python\n(.*?)```", DOCS, re.S)[0]
IMAGES = {
    "stripes": """
        import torch

        from guidelab.data.image_set import ImageSet

        def prepare(split, resolution_px, source=None, *, n=None, seed=0):
            count = n or 96
            generator = torch.Generator().manual_seed({"train": 0, "holdout": 1, "test": 2}[split])
            images = torch.randint(0, 256, (count, 3, 1, resolution_px), generator=generator, dtype=torch.uint8)
            names = tuple(f"{split}/{index}" for index in range(count))
            return ImageSet(images.expand(-1, -1, resolution_px, -1).contiguous(), torch.arange(count) % 4, names)
    """,
    "pixelwise": """
        import torch
        from torch import nn

        class Pixelwise(nn.Module):
            def __init__(self, resolution_px, image_channels, classes, width=4, generator=None):
                super().__init__()
                self.resolution_px, self.image_channels, self.classes = resolution_px, image_channels, classes
                self.into, self.out = nn.Conv2d(image_channels, width, 1), nn.Conv2d(width, image_channels, 1)
                for parameter in self.parameters():
                    nn.init.normal_(parameter, std=0.1, generator=generator)

            def forward(self, x, sigma, cond=None):
                scaled = x / (1 + sigma**2).sqrt().to(x)[:, None, None, None]
                return self.out(torch.tanh(self.into(scaled)))
    """,
    "colour": """
        from guidelab.features.extractor import Extracted, as_net_input

        class Colour:
            name, sha256 = "plugins.colour:Colour", "0" * 64

            def __call__(self, images):
                x = as_net_input(images)
                return Extracted(x.mean((2, 3)) + x.amax((2, 3)))
    """,
    "contrast": """
        from guidelab.metrics.value import Value

        class Contrast:
            \"\"\"Spread of the features over that of the reference.\"\"\"

            label, direction, digits, needs = "contrast", "higher", 2, "real"

            def __call__(self, generated, reference, names, **how):
                value = float(generated.features.std() / reference.features.std())
                return [(name, Value(value, 0.01)) for name in names]
    """,
    "euler": """
        from itertools import pairwise

        from guidelab.core.denoiser import at_step
        from guidelab.sampling.continuous import Continuous

        class Euler(Continuous):
            evaluations = (1, 1)

            def __init__(self, job, nets, factor=1.0):
                super().__init__(job, nets)
                self.factor = factor

            def solved(self, predict, x, cond, *, correct, callback):
                for high, low in pairwise(self.sigmas):
                    slope = (x - at_step(predict, high)(x, x.new_full(x.shape[:1], high), cond)) / high
                    x = x + self.factor * (low - high) * slope
                return x
    """,
    "bars": """
        from matplotlib.figure import Figure

        def rows(given, info):
            found = given["measurements"]
            return found[found["metric"] == info["settings"]["metric"]][["variant", "w", "value"]]

        def make(rows, info):
            figure = Figure()
            figure.subplots().bar(rows.index, rows["value"])
            return figure
    """,
}
INSTALLED = """
    from guidelab.metrics.value import Value

    class Theirs:
        label, direction = "theirs", "none"

        def __call__(self, generated, reference, names, **how):
            return [(name, Value(float(len(generated.features)), 0.0)) for name in names]
"""


OWN = "plugins.spread:spread"
OF_OWN_NET = ("own", "own_dg", "own_ref")  # variants
TARGETS = ("results/tables/toy2d_ci.csv", "results/figures/toy2d_ci/own.pdf")


def small(params):
    """The 2D example with one variant of each kind and nothing else; a net of a user's own is main, reference and guided."""
    e = params["experiments"]["toy2d_ci"]
    e["divergences"] = None
    e["discriminators"] = {"grade": None, "guide": e["discriminators"]["guide"]}
    e["discriminators"]["guide"]["generated"]["variant"] = "own"
    dropped = ("truncation", "cfg", "cfg_interval", "autog_ema", "dropout", "dg", "dg_autog")
    e["variants"] = {
        "autog": {"weights": [2.0]},
        "damped": {
            "main": "main",
            "guide": {"method": {"name": "plugins.damped:Damped", "power": 0.5}, "ref": "weak"},
            "weights": [3.0],
        },
        "own": {"main": "mine"},
        "own_ref": {"main": "main", "guide": {"method": "reference", "ref": "mine"}, "weights": [2.0]},
        "own_dg": {"main": "mine", "guide": {"method": "discriminator", "disc": "guide"}, "weights": [1.0]},
    } | dict.fromkeys((*dropped, "autog_xs", "autog_t16", "input_noise", "mismatched", "dg_first"))
    e["models"] |= dict.fromkeys(
        ("blind", "small", "short", "averaged", "drop5", "drop10", "noise10", "noise20")
    )
    e["models"]["mine"] = {"denoiser": "mine", "nimg": "2Ki", "ema_std": 0.010}
    e["denoisers"] |= dict.fromkeys(("xs_uncond", "xs_long"))
    recipe = params["experiments"]["toy2d"]["denoisers"]["xs"]["train"] | e["denoisers"]["xs"]["train"]
    e["denoisers"]["mine"] = {
        "net": {"name": "plugins.perceptron:Perceptron", "width": 16},
        "classes": "A",
        "train": copy.deepcopy(recipe),  # no aliases in YAML
    }
    e["evaluate"] |= {"density": None, "metrics": ["frechet", OWN], "select_metric": ["frechet"]}
    e["paper"] = {
        "headline": ["none", "damped/w3.00", "own"],
        "figures": dict.fromkeys(
            (
                "fig1",
                "fig2",
                "fig9",
                "sweep",
                "sweep_guides",
                "sweep_degraded",
                "sweep_planes",
                "divergence_sigma",
                "divergence_calibration",
                "divergence_weight",
            )
        )
        | {"own": {"name": "plugins.figure:make", "metric": OWN}},
    }
    params["default"] = ["toy2d_ci"]
    known = {name: params["experiments"][name] for name in ("toy2d", "toy2d_ci")}
    of_images = read_yaml(Path(__file__).with_name("capabilities.yaml"))["experiments"]
    params["experiments"] = known | {n: of_images[n] for n in ("own_folder", "own_zip", "own_plugins")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree.new(tmp_path_factory.mktemp("own") / "tree", fake=False, warm=True)
    (made.root / "plugins").mkdir()
    for name, text in (("damped", GUIDANCE), ("spread", METRIC), ("figure", FIGURE), ("perceptron", NET)):
        (made.root / f"plugins/{name}.py").write_text(textwrap.dedent(text))
    for name, text in IMAGES.items():
        (made.root / f"plugins/{name}.py").write_text(textwrap.dedent(text))
    made.environment["PYTHONPATH"] += os.pathsep + str(installed(tmp_path_factory.mktemp("installed")))
    made.write_params(small)
    return made


def installed(folder):
    """A folder as pip fills it: a package with the entry point of a metric."""
    about = folder / "theirs-1.0.dist-info"
    about.mkdir()
    (folder / "theirs.py").write_text(textwrap.dedent(INSTALLED))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "top_level.txt").write_text("theirs\n")
    (about / "entry_points.txt").write_text("[guidelab.metric]\ntheirs = theirs:Theirs\n")
    return folder


def rerun(tree, *targets):
    """The jobs of a dry run, as `rule variant` or `rule`."""
    text = tree.planned(*(targets or TARGETS))
    found = re.findall(r"^rule (\w+):\n(?:.*\n)*?    output: (\S+)", text, re.M)
    return {f"{rule} {path.split('/')[3]}" if rule in ("sample", "measure") else rule for rule, path in found}


def edit(tree, name, old, new):
    path = tree.root / f"plugins/{name}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_guidance_a_net_a_metric_and_a_figure_of_plugins_run_and_rerun_exactly(tree):
    said = tree.run("snakemake", "--cores", "2", *TARGETS)
    assert "guidelab: plugin plugins.damped" in said
    rows = pd.read_csv(tree.root / "results/toy2d_ci/measurements.csv")
    own = rows[rows["metric"] == OWN]
    assert set(own["variant"]) == {"none", "real", "autog", "damped", *OF_OWN_NET}
    twice = rows[
        (rows["metric"] == "frechet") & (rows["seed_block"] == "report1") & (rows["train_seed"] == 0)
    ]
    damped, autog = (float(twice[twice["variant"] == v]["value"].iloc[0]) for v in ("damped", "autog"))
    assert damped == autog  # half of w - 1 = 2 is w - 1 = 1, from the same noise
    plotted = pd.read_csv(tree.root / "results/figures/toy2d_ci/own.csv")
    assert sorted(plotted["value"]) == sorted(own["value"])
    printed = pd.read_csv(tree.root / TARGETS[0])
    cells = printed[printed["metric"] == "frechet"].set_index("variant")["status"]
    assert set(OF_OWN_NET) < set(cells.index) and "not run" not in set(cells)
    assert len(set(own[own["variant"].isin(["none", *OF_OWN_NET])].groupby("variant")["value"].first())) == 4
    trained = load_arrays(tree.root / "results/toy2d_ci/checkpoints/mine/seeds0-1.safetensors")[1]
    assert trained["net"] == {"name": "plugins.perceptron:Perceptron", "width": 16}
    assert rerun(tree) == set()

    edit(tree, "perceptron", "torch.tanh", "torch.sin")
    made = {"train", "reconstruct", "generate", "discriminate", "collect", "table", "figure"}
    assert rerun(tree) == made | {f"{rule} {v}" for rule in ("sample", "measure") for v in OF_OWN_NET}
    edit(tree, "perceptron", "torch.sin", "torch.tanh")
    edit(tree, "figure", '"o"', '"x"')
    assert rerun(tree) == {"figure"}
    edit(tree, "figure", '"x"', '"o"')
    edit(tree, "damped", "self.power *", "2 * self.power *")
    assert rerun(tree) == {"sample damped", "measure damped", "collect", "table", "figure"}
    edit(tree, "damped", "2 * self.power *", "self.power *")
    edit(tree, "spread", "x.std()", "x.var()")
    measured = {f"measure {v}" for v in ("none", "real", "autog", "damped", *OF_OWN_NET)}
    assert rerun(tree) == measured | {"collect", "table", "figure"}


def test_a_dataset_a_net_an_extractor_a_sampler_a_metric_and_a_figure_of_images_run_and_rerun_exactly(tree):
    table, figure = "results/tables/own_plugins.csv", "results/figures/own_plugins/own.pdf"
    said = tree.run("snakemake", "--cores", "2", table, figure)
    assert {f"plugins.{name}" for name in IMAGES} <= set(re.findall(r"guidelab: plugin (\S+)", said))
    rows = pd.read_csv(tree.root / "results/own_plugins/measurements.csv")
    own, theirs = (
        rows[rows["metric"] == f"{name}@colour"] for name in ("plugins.contrast:Contrast", "theirs")
    )
    assert (
        (own["value"] > 0).all()
        and set(own["reference_split"]) == {"reference"}
        and set(own["n_reference"]) == {96}
    )
    assert (theirs["value"] == 16).all() and set(theirs["reference_split"]) == {"none"}
    assert set(rows["sampler"]) == {"plugins.euler:Euler"} and set(rows["nfe"]) == {3}
    printed = pd.read_csv(tree.root / table)
    assert (
        printed["plugins.contrast:Contrast@colour"].notna().all() and printed["theirs@colour"].notna().all()
    )
    assert "contrast" in (tree.root / table).with_suffix(".md").read_text()
    plotted = pd.read_csv(tree.root / "results/figures/own_plugins/own.csv")
    assert sorted(plotted["value"]) == sorted(own["value"])
    assert rerun(tree, table, figure) == set()

    ends = {"collect", "table", "figure"}
    measured = {f"measure {v}" for v in ("none", "autog")} | ends
    for name, old, new, wanted in (
        ("bars", ".bar(", ".barh(", {"figure"}),
        ("contrast", '"contrast", "higher"', '"colours", "higher"', measured),
        ("contrast", ".std()", ".var()", measured),
        ("colour", "amax", "amin", {"extract", *measured}),
        ("euler", "low - high", "high - low", {"sample none", "sample autog", "extract", *measured}),
        (
            "pixelwise",
            "tanh",
            "sin",
            {"train", "reconstruct", "sample none", "sample autog", "extract", *measured},
        ),
    ):
        text = (tree.root / f"plugins/{name}.py").read_text()
        edit(tree, name, old, new)
        assert rerun(tree, table, figure) == wanted, name
        (tree.root / f"plugins/{name}.py").write_text(text)
