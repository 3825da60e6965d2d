"""Jobs on points: data, exact densities, the numbers of a sampler, fields of figures, and what a smoke run is made of.

What must never happen: a fold that ignores its seed; data of a density that are the sampler's own starts; a grader's bounds
at another noise level or with its sides exchanged; a bound that is not called one; axes or differences of a figure exchanged; test images fewer than two folds.
"""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from sampling_jobs import save_net

from guidelab.assemble import Nets
from guidelab.core.noise import SeededNoise
from guidelab.data.toy2d import fractal
from guidelab.divergence.subject import Space
from guidelab.io import load_arrays, read_csv, save_arrays
from guidelab.jobs import (
    coordinates,
    density,
    diverge,
    divergences,
    field,
    figure,
    metrics_info,
    prepare,
    printed,
    synthesize,
)
from guidelab.metrics.divergence_report import Line
from guidelab.metrics.grader import grade
from guidelab.metrics.value import Value
from guidelab.nets.toy import ToyDenoiser

TREE = {"name": "toy2d", "classes": "A"}
HEUN = {"name": "heun", "steps": 6, "sigma_min": 0.05, "sigma_max": 5.0, "rho": 7.0, "dtype": "float32"}
WHOLE = {"dropout": 0.0, "input_noise": 0.0}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


def test_a_fold_is_drawn_from_its_own_seed(out):
    job = {"dataset": TREE, "n": 8, "seed": 3, "fold": "train", "code": "c"}
    prepare.run(job, [out])
    drawn, about = load_arrays(out)
    assert torch.equal(drawn["x"], fractal("A").draw(8, torch.Generator().manual_seed(3)))
    assert (about["fold"], about["seed"], about["facts"]) == ("train", 3, {})


def test_densities_of_the_exact_denoiser_are_the_truth_at_the_lowest_level(out, monkeypatch):
    tree = fractal("A")
    monkeypatch.setattr(density, "load_nets", lambda inputs, seed: Nets({"main": tree}, {}))
    job = {
        "dataset": TREE, "variant": "none", "train_seeds": [0], "blocks": {"a": [10, 11]}, "sampler": HEUN, "main": "main",
        "terms": [], "degrade": {"main": WHOLE}, "density": {"n": 2, "steps": 32}, "inputs": {}, "code": "c",
    }  # fmt: skip
    density.run(job, [out])
    found = load_arrays(out)[0]
    data, model = ([found[f"seed0/a/{side}/log_{of}"] for of in ("p", "q")] for side in ("data", "model"))
    apart = tree.start(SeededNoise([density.DATA_SEEDS + seed for seed in (10, 11)]), 0.05).double()
    torch.testing.assert_close(data[0], tree.log_density(apart, 0.05))
    torch.testing.assert_close(data[1], data[0], atol=0.3, rtol=0)
    torch.testing.assert_close(model[1], model[0], atol=0.3, rtol=0)


class Grader(torch.nn.Module):
    """Keeps what it judges; its logit is the first coordinate."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, sigma, cond):
        self.seen.append((x, sigma))
        return x[:, 0]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A job of `measure` on four samples, three reference points and a grader."""
    tree, grader = fractal("A"), Grader()
    x, reference = (tree.draw(n, torch.Generator().manual_seed(n)).float() for n in (4, 3))
    of = {"variant": "none", "weights": [], "train_seeds": [0], "sampler": HEUN}
    source = {"variant": "none", "terms": [], "seeds": [0], "sampler": HEUN, "blocks": {"a": [0, 3]}}
    save_arrays(tmp_path / "samples", {"seed0/a/x": x}, source | {"code": "s", "nets_sha256": {}})
    save_arrays(tmp_path / "reference", {"x": reference}, {"facts": {"region_level": -1.0}})
    save_arrays(tmp_path / "grader", {"seed0/w": torch.zeros(1)}, {"reports": {"0": {}}})
    monkeypatch.setattr(coordinates, "load_net", lambda path, seed: grader)
    inputs = {name: [str(tmp_path / name)] for name in ("samples", "reference")}
    job = {
        "dataset": TREE, "of": of, "blocks": {"a": [0, 3]}, "neighbours": 1, "metrics": [], "density_defined": False, "code": "m",
        "sampler": HEUN, "inputs": inputs | {"grader:guide": [str(tmp_path / "grader")]},
    }  # fmt: skip
    return job, x, reference, grader


def test_a_grader_judges_both_sides_at_the_lowest_level_of_the_sampler(measured):
    job, x, reference, grader = measured
    found = {one.metric: one for one in coordinates.spaces(job)[0].measured(0, "a")}
    (at_data, level), (at_model, _) = grader.seen
    assert level.unique().tolist() == [pytest.approx(0.05)]
    for seen, clean in ((at_data, reference), (at_model, x)):
        assert 0.005 < (seen - clean).std() < 0.2  # noise, of about the level
    wanted = grade(logits_at_data=at_data[:, 0], logits_at_model=at_model[:, 0])
    assert {name: found[name].value.value for name in coordinates.GRADED} == {
        name: wanted[name].value for name in coordinates.GRADED
    }
    assert found["grader_js"].n_generated == 4 and found["grader_js"].n_reference == 3


def test_arrows_are_the_main_score_less_the_guides_and_axes_keep_their_place(tmp_path, out, monkeypatch):
    monkeypatch.setattr(field, "CANDIDATES", 8)
    config, nets = {"name": "toy", "width": 8, "layers": 1}, {}
    for seed, name in enumerate(("main", "weak")):
        nets[name] = ToyDenoiser(8, 1, generator=torch.Generator().manual_seed(seed))
        nets[name].gain.data.fill_(0.5)
        save_net(tmp_path / name, nets[name], config)
    guide = {
        "method": "reference",
        "ref": "weak",
        "disc": None,
        "weight": 2.0,
        "sigma_lo": 0.0,
        "sigma_hi": None,
    }
    run = {
        "main": "main", "degrade": {"main": WHOLE, "weak": WHOLE}, "sampler": HEUN, "batch": 8, "variant": "autog",
        "terms": [guide | {"stages": "both"}], "precision": "float32", "unlabelled": [], "labels": None,
    }  # fmt: skip
    settings = {"window": [-1.0, 1.0, 0.0, 2.0], "grid": 3, "train_seed": 0, "sigma": 0.1, "lines": 2}
    inputs = {f"model:{name}": [str(tmp_path / name)] for name in nets}
    job = {
        "figure": "fig2",
        "settings": settings,
        "dataset": TREE,
        "runs": {"autog/w2.00": run},
        "inputs": inputs,
    }
    field.run(job | {"code": "c"}, [out])
    found = load_arrays(out)[0]
    at = torch.stack([found["arrow/x"], found["arrow/y"]], dim=1)
    level = torch.full((len(at),), 0.1)
    with torch.no_grad():
        wanted = nets["main"].score(at, level) - nets["weak"].score(at, level)
    torch.testing.assert_close(torch.stack([found["arrow/u"], found["arrow/v"]], dim=1), wanted)
    corner = torch.tensor([[found["grid/x"][2], found["grid/y"][0]]])
    assert found["grid/log_p"][0, 2] == pytest.approx(float(fractal("A").log_density(corner)[0]), rel=1e-4)


def test_a_figure_keeps_the_rows_it_plots(tmp_path, monkeypatch):
    class Drawn:
        rows = staticmethod(lambda given, job: pd.DataFrame({"a": [1, 2]}))
        make = staticmethod(lambda rows, job: Figure())

    monkeypatch.setattr(figure.registry, "module", lambda kind, name: Drawn)
    outputs = [tmp_path / name for name in ("f.pdf", "f.png", "f.csv")]
    figure.run({"figure": "mine", "settings": {}, "inputs": {}, "looks": {}}, outputs)
    assert read_csv(outputs[2])["a"].tolist() == [1, 2]


def test_a_table_is_written_in_the_forms_its_files_name(tmp_path):
    outputs = [tmp_path / name for name in ("t.csv", "t.md", "t.tex", "t.sources.csv")]
    printed.write(outputs, pd.DataFrame({"a": [1]}), "| md |", "\\tex", pd.DataFrame({"b": [2]}))
    assert (outputs[1].read_text(), outputs[2].read_text()) == ("| md |", "\\tex")
    assert (list(read_csv(outputs[0])), list(read_csv(outputs[3]))) == (["a"], ["b"])


def test_metrics_of_plugins_stand_behind_those_that_are_built_in(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("name,label\nfid,FID\n")
    own = {"name": "mine", "label": "Mine"}
    found = metrics_info.metrics_info({"inputs": {"metrics": [str(path)]}, "metrics_of_plugins": [own]})
    assert found["name"].tolist() == ["fid", "mine"]


def test_a_divergence_keeps_six_digits_and_says_whether_it_is_a_bound(tmp_path, monkeypatch):
    (tmp_path / "grader").write_text("")
    lines = [
        Line("estimate", f"nwj{space}", "kl", "m", 0.1, 0.2, Value(1.23456789, 0.1), 4, bound=not space)
        for space in ("", "@lite0")
    ]
    spaces = {"lite0": Space(*[torch.zeros(1)] * 3, "f" * 16)}
    monkeypatch.setattr(diverge, "null", lambda job: SimpleNamespace(spaces=spaces))
    monkeypatch.setattr(diverge, "estimate", lambda *_: iter(lines))
    job = dict.fromkeys(("experiment", "scale", "point", "code", "reference_split"), "x")
    job |= {
        "train_seeds": [0],
        "sigmas": [0.1, 0.2],
        "estimate": {},
        "inputs": {"grader": [str(tmp_path / "grader")]},
    }
    diverge.run(job, [tmp_path / "rows.csv"])
    rows = read_csv(tmp_path / "rows.csv")
    assert rows["value"].tolist() == [1.23457] * 2 and rows["bound"].tolist() == ["yes", "no"]
    assert rows["grader_sha256"].astype(bool).tolist() == [True, False]


def test_the_null_comes_first_among_the_rows_of_divergences(tmp_path, monkeypatch):
    for name in ("null", "point"):
        (tmp_path / name).write_text(f"point\n{name}\n")
    seen = []
    monkeypatch.setattr(divergences, "make_table", lambda rows, job: seen.append(rows))
    for name in ("to_markdown", "to_latex", "sources", "write"):
        monkeypatch.setattr(divergences, name, lambda *_: None)
    inputs = {"null": [str(tmp_path / "null")], "rows": [str(tmp_path / "point")]}
    divergences.run({"inputs": inputs, "looks": {}}, [tmp_path / "all.csv"])
    assert read_csv(tmp_path / "all.csv")["point"].tolist() == ["null", "point"]


@pytest.mark.parametrize(("dataset", "counts"), [("cifar10", (10, 40)), ("imagenet", (24, 2))])
def test_synthetic_folds_are_as_large_as_a_block_of_samples(tmp_path, monkeypatch, dataset, counts):
    seen = {}
    monkeypatch.setattr(
        synthesize,
        "write_cifar_like",
        lambda *_, train_per_batch, test, seed: seen.update(n=(train_per_batch, test)),
    )
    monkeypatch.setattr(
        synthesize,
        "write_imagenet_like",
        lambda folder, classes, train, val, seed: seen.update(n=(train, val)),
    )
    job = {"dataset": {"name": dataset, "classes": 5}, "pictures": 10, "seed": 0, "checkpoints": []}
    synthesize.run(job, [Path(tmp_path / "files.json")])
    assert seen["n"] == counts
