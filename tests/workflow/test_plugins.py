"""A guidance method, a metric and a figure of a user's own: one file each in plugins/, run through Snakemake."""

import re
import textwrap

import pandas as pd
import pytest
from tree import Tree

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
OWN = "plugins.spread:spread"
TARGETS = ("results/tables/toy2d_ci.csv", "results/figures/toy2d_ci/own.pdf")


def small(params):
    """The 2D example with one variant of each kind and nothing else."""
    e = params["experiments"]["toy2d_ci"]
    e["discriminators"] = e["divergences"] = None
    dropped = ("truncation", "cfg", "cfg_interval", "autog_ema", "dropout", "dg", "dg_autog")
    e["variants"] = {
        "autog": {"weights": [2.0]},
        "damped": {
            "main": "main",
            "guide": {"method": {"name": "plugins.damped:Damped", "power": 0.5}, "ref": "weak"},
            "weights": [3.0],
        },
    } | dict.fromkeys((*dropped, "autog_xs", "autog_t16", "input_noise", "mismatched", "dg_first"))
    e["models"] |= dict.fromkeys(
        ("blind", "small", "short", "averaged", "drop5", "drop10", "noise10", "noise20")
    )
    e["denoisers"] |= dict.fromkeys(("xs_uncond", "xs_long"))
    e["evaluate"] |= {"density": None, "metrics": ["frechet", OWN], "select_metric": ["frechet"]}
    e["paper"] = {
        "headline": ["none", "damped/w3.00"],
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
    params["experiments"] = {name: params["experiments"][name] for name in ("toy2d", "toy2d_ci")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree.new(tmp_path_factory.mktemp("own") / "tree", fake=False, warm=True)
    (made.root / "plugins").mkdir()
    for name, text in (("damped", GUIDANCE), ("spread", METRIC), ("figure", FIGURE)):
        (made.root / f"plugins/{name}.py").write_text(textwrap.dedent(text))
    made.append(
        "workflow/resources/metrics.csv",
        f"{OWN},spread,higher,,3,Standard deviation over that of the data.,quality\n",
    )
    made.write_params(small)
    return made


def rerun(tree):
    """The jobs of a dry run, as `rule variant` or `rule`."""
    text = tree.planned(*TARGETS)
    found = re.findall(r"^rule (\w+):\n(?:.*\n)*?    output: (\S+)", text, re.M)
    return {f"{rule} {path.split('/')[3]}" if rule in ("sample", "measure") else rule for rule, path in found}


def edit(tree, name, old, new):
    path = tree.root / f"plugins/{name}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_guidance_a_metric_and_a_figure_of_plugins_run_and_rerun_exactly(tree):
    said = tree.run("snakemake", "--cores", "2", *TARGETS)
    assert "guidelab: plugin plugins.damped" in said
    rows = pd.read_csv(tree.root / "results/toy2d_ci/measurements.csv")
    own = rows[rows["metric"] == OWN]
    assert set(own["variant"]) == {"none", "autog", "damped"}
    twice = rows[
        (rows["metric"] == "frechet") & (rows["seed_block"] == "report1") & (rows["train_seed"] == 0)
    ]
    damped, autog = (float(twice[twice["variant"] == v]["value"].iloc[0]) for v in ("damped", "autog"))
    assert damped == autog  # half of w - 1 = 2 is w - 1 = 1, from the same noise
    plotted = pd.read_csv(tree.root / "results/figures/toy2d_ci/own.csv")
    assert sorted(plotted["value"]) == sorted(own["value"])
    assert rerun(tree) == set()

    edit(tree, "figure", '"o"', '"x"')
    assert rerun(tree) == {"figure"}
    edit(tree, "figure", '"x"', '"o"')
    edit(tree, "damped", "self.power *", "2 * self.power *")
    assert rerun(tree) == {"sample damped", "measure damped", "collect", "table", "figure"}
    edit(tree, "damped", "2 * self.power *", "self.power *")
    edit(tree, "spread", "x.std()", "x.var()")
    assert rerun(tree) == {"measure none", "measure autog", "measure damped", "collect", "table", "figure"}
