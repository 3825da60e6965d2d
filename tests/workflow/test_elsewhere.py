"""The workflow outside its own folder: as a module of another workflow, with -s, with --directory, in a folder of `guidelab init`."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from tree import EXPERIMENT, ROOT, Tree, chain

from guidelab.cli.app import app
from guidelab.errors import UserError
from guidelab.plan.dvc import pipelines
from guidelab.plan.plan import Plan
from guidelab.plan.targets import params_path
from guidelab.spec.load import load_spec
from guidelab.study.folder import make, parameters

TARGET = f"results/{EXPERIMENT}/data/reference.safetensors"
TABLE = f"results/tables/{EXPERIMENT}.csv"
HERE = {"PYTHONPATH": str(ROOT / "src")}
COMMANDS = [
    *app.registered_commands,
    *(c for g in app.registered_groups for c in g.typer_instance.registered_commands),
]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place where commands of this project are run; the first `guidelab` there starts a process that serves the others."""
    root = tmp_path_factory.mktemp("elsewhere") / "empty"
    root.mkdir()
    return Tree(root, fake=False, warm=True)


def planned(said):
    """Rule -> number of its jobs, of a dry run."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}


def test_a_study_folder_builds_and_keeps_its_records(folder):
    root = folder.root.parent / "study"
    said = folder.run("guidelab", "init", str(root), "--from", EXPERIMENT, **HERE)
    assert f"cd {root} && snakemake" in said
    study = Tree(root, fake=False, warm=True)
    study.run("snakemake", "-c1", TARGET, **HERE)
    assert (root / TARGET).is_file()
    assert (root / f"results/{EXPERIMENT}/runs/data.json").is_file(), "records are exported from a module too"
    again = study.run("snakemake", "-n", "--config", "params=params.yaml", "--", TARGET, **HERE)
    assert "Nothing to be done" in again
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("reference: {n: 256}", "reference: {n: 128}"))
    assert planned(study.run("snakemake", "-n", TARGET, **HERE)) == {"prepare": 1, "total": 1}


def test_a_study_folder_has_what_dvc_needs_and_nothing_from_elsewhere(tmp_path, monkeypatch):
    made = make(tmp_path / "study", EXPERIMENT)
    assert {"params.yaml", "Snakefile", "dvc.yaml", "workflow/profiles/local/config.yaml"} <= set(made)
    monkeypatch.chdir(tmp_path / "study")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    written = Path("dvc.yaml").read_text()
    assert pipelines(Plan(load_spec()), raw)["dvc.yaml"] == written, (
        "`guidelab pipeline` there writes the same"
    )
    stages = yaml.safe_load(written)["stages"]
    deps = {dep for stage in stages.values() for dep in stage["deps"]}
    assert {dep for dep in deps if not dep.startswith("results/")} == {"Snakefile"}
    for stage in stages.values():
        assert Path(re.search(r":-([\w/]+)}", stage["cmd"])[1], "config.yaml").is_file()
    assert len([line for line in Path("Snakefile").read_text().splitlines() if line.strip()]) <= 5


@pytest.mark.parametrize("held", ["file", "folder", "itself"])
def test_init_overwrites_nothing(tmp_path, held):
    place = tmp_path / "study"
    if held == "file":
        place.write_text("mine")
    elif held == "folder":
        (place / "notes").mkdir(parents=True)
    else:
        make(place, EXPERIMENT)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="holds something already"):
        make(place, EXPERIMENT)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("named", [".", "link", "empty"])
def test_init_fills_an_empty_folder_in_place(tmp_path, monkeypatch, named):
    """It may be a shell's current folder, so it stays the same one."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "link").symlink_to(empty)
    before = empty.stat().st_ino
    monkeypatch.chdir(empty if named == "." else tmp_path)
    made = make(Path(named), EXPERIMENT)
    assert (empty / "Snakefile").is_file() and "workflow/profiles/local/config.yaml" in made
    assert empty.stat().st_ino == before and (tmp_path / "link").is_symlink()
    assert sorted(made) == sorted(str(p.relative_to(empty)) for p in empty.rglob("*") if p.is_file())


def test_init_of_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\); give another folder"):
        make(tmp_path / ("x" * 300), EXPERIMENT)
    assert not list(tmp_path.iterdir())


def test_init_of_no_experiment_writes_nothing(tmp_path):
    with pytest.raises(UserError, match="did you mean 'toy2d'"):
        make(tmp_path / "study", "toy2e")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", list(yaml.load(SHIPPED, yaml.CSafeLoader)["experiments"]))
def test_copied_parameters_are_those_of_the_experiment(name):
    """With what it extends and nothing else, in the words they are written in."""
    copied, shipped = (yaml.load(text, yaml.CSafeLoader) for text in (parameters(SHIPPED, name), SHIPPED))
    assert copied == {"default": [name], "experiments": chain(shipped, name)}


def test_a_module_of_another_workflow(folder):
    """The other workflow has rules of its own, which may write below results/ too."""
    root = folder.root.parent / "module"
    root.mkdir()
    (root / "Snakefile").write_text(
        f'module guidelab:\n    snakefile: "{ROOT}/Snakefile"\n    config: {{"params": "own.yaml"}}\n'
        'use rule * from guidelab\nrule mine:\n    output: "results/mine/x.txt"\n    shell: "touch {output}"\n'
    )
    (root / "own.yaml").write_text(parameters(SHIPPED, EXPERIMENT))
    other = Tree(root, fake=False, warm=True)
    counted = planned(other.run("snakemake", "-n", TABLE, "results/mine/x.txt", **HERE))
    assert counted["table"] == counted["mine"] == 1 and counted["measure"] > 5


def test_with_the_path_of_the_snakefile(folder):
    """In a folder without any file: parameters and resources are the workflow's."""
    said = folder.run("snakemake", "-s", f"{ROOT}/Snakefile", "-n", TABLE, **HERE)
    assert planned(said)["table"] == 1 and f"{ROOT}/workflow/resources/metrics.csv" in said
    assert not list(folder.root.glob("results")), "a dry run writes no results"


def test_with_a_directory_from_the_projects_folder(folder):
    other = folder.root.parent / "directory"
    other.mkdir()
    (other / "params.yaml").write_text(parameters(SHIPPED, EXPERIMENT))
    said = folder.run("snakemake", "-s", f"{ROOT}/Snakefile", "--directory", str(other), "-n", **HERE)
    assert planned(said)["all"] == 1, "the default of that folder's params.yaml"
    assert EXPERIMENT in said and "fashion" not in said


def test_from_a_wheel(folder):
    """Laid out as setup.py does: the workflow inside the package, and no src/ next to it."""
    site = folder.root.parent / "site"
    shutil.copytree(ROOT / "src/guidelab", site / "guidelab", ignore=shutil.ignore_patterns("__pycache__"))
    held = site / "guidelab/project/files"
    held.mkdir()
    for name in ("Snakefile", "params.yaml"):
        shutil.copy(ROOT / name, held)
    shutil.copytree(ROOT / "workflow", held / "workflow", ignore=shutil.ignore_patterns("dvc"))
    said = folder.run("snakemake", "-s", f"{held}/Snakefile", "-n", TABLE, PYTHONPATH=str(site))
    assert planned(said)["table"] == 1 and f"{held}/workflow/resources/metrics.csv" in said


def test_the_catalog_has_what_it_shows():
    """Its two files; the configuration page names only keys, commands and files that there are."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] and usage["report"] is True
    page = (ROOT / "config/README.md").read_text()
    for linked in re.findall(r"\]\(([^)#]+)\)", page):
        assert (ROOT / "config" / linked).is_file(), linked
    assert params_path({"params": "mine.yaml"}) == "mine.yaml" and 'config: {"params": "mine.yaml"}' in page
    shown = set(re.findall(r"`guidelab (\w+)", page + (ROOT / "docs/elsewhere.md").read_text()))
    assert shown <= {command.name or command.callback.__name__ for command in COMMANDS}, shown
