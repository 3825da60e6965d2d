"""Every command that README prints goes as far as its plan: no name, option or example in it is wrong."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image
from shipped import outdated
from typer.testing import CliRunner

from guidelab.cli.app import app
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.plan.targets import refuse_unknown
from guidelab.runtime.preflight import invocation_of
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
BLOCKS = [block for language, block in FENCED if not language]
COMMANDS = [
    shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()
]
OVERRIDES = re.findall(r"-S '([^']+)'", README)


def of(name):
    """The commands of a program, without its name."""
    found = [command[1:] for command in COMMANDS if command[0] == name]
    assert found, name
    return found


def test_every_command_is_of_a_program_that_is_tested_here():
    assert {command[0] for command in COMMANDS} == {"make", "snakemake", "guidelab", "dvc", "export"}
    assert len(COMMANDS) > 25


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


@pytest.mark.parametrize("arguments", of("make"), ids=" ".join)
def test_make(arguments):
    subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("arguments", of("snakemake"), ids=" ".join)
def test_snakemake(arguments, plan, monkeypatch):
    """Its options are Snakemake's, and params.yaml plans its targets."""
    monkeypatch.chdir(ROOT)
    invocation = invocation_of(arguments)
    assert invocation.tells, "Snakemake knows an option otherwise, or the profile is not there"
    assert all(target.startswith("results/") for target in invocation.targets)
    refuse_unknown(plan, invocation.targets)


def names_of_jobs(arguments):
    """`guidelab job` plans what `guidelab RULE` runs."""
    of_params = arguments[0] in RULES and arguments[0] != "prepare" and "--net" not in arguments
    return ["job", *arguments] if of_params else arguments


@pytest.mark.parametrize("arguments", of("guidelab"), ids=" ".join)
def test_guidelab(arguments, plan, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GUIDELAB_CHECKPOINTS", raising=False)
    for kind in ("cat", "dog"):
        (tmp_path / "my/images" / kind).mkdir(parents=True)
        for number in range(130):
            Image.new("RGB", (70, 66), (number, 7, 9)).save(tmp_path / f"my/images/{kind}/{number}.png")
    words = [str(tmp_path / word[2:]) if word.startswith("~/") else word for word in names_of_jobs(arguments)]
    if "-o" in words:
        words[words.index("-o") + 1] = str(tmp_path / words[words.index("-o") + 1])
    if words[0] == "crate":
        pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    if words[0] == "cost":  # builds every net of the papers; test_costs.py does that
        refuse_unknown(plan, words[1:])
        return
    if words[0] == "verify":  # run whole by test_verify.py; only its files are missing here
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(app, [*words, "--params", str(ROOT / "params.yaml")])
        assert isinstance(done.exception, UserError) and "Build them with: snakemake" in str(done.exception)
        return
    done = CliRunner().invoke(app, words)
    if (
        "--net" in words or words[0] == "evaluate"
    ):  # run whole by test_own_nets.py; only their files are missing here
        assert isinstance(done.exception, UserError)
        assert re.match(r"(main\.pkl: no such file|out: is not there)", str(done.exception))
        return
    if words[0] == "bundle":  # without the released files it names them, and the plan ends there
        assert isinstance(done.exception, UserError) and "checkpoints" in str(done.exception)
        return
    if words[0] == "ema":  # the same without snapshots
        assert isinstance(done.exception, UserError) and "wanted one of EDM2's snapshots" in str(
            done.exception
        )
        return
    if words[0] == "crate" and outdated(
        plan, words[1]
    ):  # results of other parameters or code are not packed as these
        assert isinstance(done.exception, UserError) and "Run again: snakemake" in str(done.exception)
        return
    if words[0] == "trace" and not Path(words[1].replace(".csv", ".sources.csv")).exists():
        # a table that was made before tables had a file of sources
        assert isinstance(done.exception, UserError) and "Make it again with: snakemake" in str(
            done.exception
        )
        return
    assert done.exit_code == 0, (done.exception, done.output[-500:])
    assert done.output.strip()


@pytest.mark.parametrize(
    "words", [part for words in of("dvc") for part in " ".join(words).split(" / dvc ")], ids=str
)
def test_dvc(words, plan, monkeypatch):
    cli = pytest.importorskip("dvc.cli", reason="DVC is not installed")
    monkeypatch.chdir(ROOT)
    words = re.sub(r"\$\(guidelab (.+)\)", lambda m: CliRunner().invoke(app, m[1].split()).output, words)
    found = cli.parse_args(words.split())
    assert found.func
    outs = [out for name in plan.spec.default for stage in plan.stages(name) for out in stage.outs]
    for target in getattr(found, "targets", None) or []:
        assert (ROOT / target).is_file() or f"{target}/".startswith(tuple(f"{out}/" for out in outs)), target


@pytest.mark.parametrize("override", OVERRIDES)
def test_what_an_experiment_of_dvc_changes_is_a_plan(override, tmp_path):
    hydra = pytest.importorskip("dvc.utils.hydra", reason="DVC is not installed")
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    hydra.apply_overrides(path, [override])
    before, after = (yaml.safe_load(p.read_text()) for p in (ROOT / "params.yaml", path))
    assert before != after
    changed = Plan(load_spec(path))
    name = override.removeprefix("+").split(".")[1]
    assert changed.stages(name)
    if not override.startswith("+"):
        assert [run.w for run in changed.experiment(name).runs if run.variant == "autog"][:3] == [
            2.0,
            2.5,
            3.0,
        ]


def test_a_weight_that_others_name_is_refused_once_with_all_that_name_it(tmp_path):
    written = yaml.safe_load((ROOT / "params.yaml").read_text())
    written["experiments"]["toy2d"]["variants"]["autog"]["weights"] = [2.0, 2.5]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    with pytest.raises(UserError) as refused:
        load_spec(tmp_path / "params.yaml")
    (line,) = [line for line in str(refused.value).splitlines() if "experiments.toy2d." in line]
    for part in (
        "discriminators.grade.points",
        "paper.headline",
        "paper.figures.fig1.panels",
        "w3.00 among variants.autog.weights",
    ):
        assert part in line


def test_the_entry_of_a_guide_of_your_own_is_a_plan(tmp_path):
    (block,) = [block for language, block in FENCED if language == "yaml"]
    written = yaml.safe_load((ROOT / "params.yaml").read_text())
    written["experiments"]["toy2d"]["variants"] |= yaml.safe_load(block)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    found = Plan(load_spec(tmp_path / "params.yaml")).experiment("toy2d")
    assert {run.w for run in found.runs if run.variant == "autog_interval"} == {2.0, 3.0}


def test_what_readme_exports_is_read(tmp_path):
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for words in of("export"):
        for name in (word.partition("=")[0] for word in words):
            assert name in source, name
