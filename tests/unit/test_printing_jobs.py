"""Jobs that print: what must never happen is a form in the file of another, a row left out, or a bound that is not called one."""

from types import SimpleNamespace

import pandas as pd
import torch
from matplotlib.figure import Figure

from guidelab.divergence.subject import Space
from guidelab.io import read_csv
from guidelab.jobs import diverge, divergences, figure, metrics_info, printed
from guidelab.metrics.divergence_report import Line
from guidelab.metrics.value import Value


def test_a_figure_keeps_the_rows_it_plots(tmp_path, monkeypatch):
    class Drawn:
        rows = staticmethod(lambda given, job: pd.DataFrame({"a": [1, 2]}))
        make = staticmethod(lambda rows, job: Figure())

    monkeypatch.setattr(figure.FIGURES, "module", lambda name: Drawn)
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
