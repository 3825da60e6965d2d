"""The command line: help with examples, and one message without a traceback for every user error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from guidelab.cli.app import app
from guidelab.io import load_arrays, save_arrays
from guidelab.nets.toy import ToyDenoiser
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]


def guidelab(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "guidelab.cli.app", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode not in (0, 75), done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


def test_help_lists_every_job_and_each_job_shows_an_example():
    top = guidelab("--help")
    assert top.returncode == 0 and all((r.command or r.name) in top.stdout for r in RULES.values())
    for rule in ("sample", "train"):
        shown = guidelab(rule, "--help")
        assert (
            shown.returncode == 0 and "Example" in shown.stdout and f"guidelab {rule} toy2d" in shown.stdout
        )


def test_former_names_of_commands_still_work_and_are_hidden():
    commands = typer.main.get_command(app).commands
    renamed = {rule.name: rule.command for rule in RULES.values() if rule.command}
    assert renamed == {"obtain": "convert", "grading": "sample_for_grader", "story": "findings"}
    for old, new in renamed.items():
        assert commands[old].hidden and not commands[new].hidden
        assert f"guidelab {new} " in commands[old].help
    done = guidelab("story", "toy2d", "--params", "absent.yaml")
    refused(done, "absent.yaml")


def test_check_and_show_and_job_say_what_is_planned():
    assert "toy2d (reduced)" in guidelab("check").stdout
    assert "cfg/w4.00" in guidelab("show", "toy2d").stdout
    shown = json.loads(guidelab("job", "sample", "toy2d", "cfg", "w4.00", "seeds0-4").stdout)
    assert shown["outputs"] == ["results/toy2d/samples/cfg/w4.00/seeds0-4.safetensors"]
    assert shown["job"]["terms"][0]["weight"] == 4.0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["samplee", "toy2d"], ["No such command"]),
        (
            ["sample", "toy2d"],
            ["given 1 names, wanted 4", "for example: guidelab sample toy2d cfg w4.00 seeds0-4"],
        ),
        (["sample", "toy2", "cfg", "w4.00", "seeds0-4"], ["no experiment 'toy2'", "did you mean 'toy2d"]),
        (["figure", "toy2d", "fig3"], ["no figure 'fig3'", "fig9, fig2, fig1"]),
        (["sample", "--job", "{", "-o", "x"], ["--job: is not JSON"]),
        (["sample", "--job", "[]", "-o", "x"], ["wanted a JSON object"]),
        (["sample", "--job", '{"inputs": {}}'], ["needs --output"]),
        (["check", "--params", "nowhere.yaml"], ["nowhere.yaml: no such file"]),
        (["job", "sample", "toy2d"], ["wanted a rule and its names"]),
        (["measure", "toy2d", "cfg", "w9.00", "seeds0-4"], ["plans no measure 'cfg/w9.00/seeds0-4'"]),
    ],
)
def test_mistakes_get_one_message(arguments, parts):
    refused(guidelab(*arguments), *parts)


def test_a_missing_input_is_named_with_the_command_that_makes_it(tmp_path):
    done = guidelab(
        "sample", "toy2d_ci", "none", "w1.00", "seeds0-1", "--params", str(ROOT / "params.yaml"), cwd=tmp_path
    )
    refused(done, "results/toy2d_ci/models/main.safetensors: no such file", "snakemake -c2")
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture
def sampled(tmp_path):
    """A folder with a model file for toy2d_ci, its sample job, and where that job writes."""
    plan = Plan(load_spec(ROOT / "params.yaml"))
    path = tmp_path / plan.experiment("toy2d_ci").net("main")
    nets = {s: ToyDenoiser(64, generator=torch.Generator().manual_seed(s)).state_dict() for s in (0, 1)}
    tensors = {f"seed{s}/{name}": value for s, net in nets.items() for name, value in net.items()}
    save_arrays(path, tensors, {"net": {"name": "toy", "width": 64, "layers": 4}, "seeds": [0, 1]})
    return tmp_path, path, plan.job("sample", "toy2d_ci", "none", "w1.00", "seeds0-1").outputs[0]


def run_sample(folder: Path) -> subprocess.CompletedProcess[str]:
    return guidelab(
        "sample", "toy2d_ci", "none", "w1.00", "seeds0-1", "--params", str(ROOT / "params.yaml"), cwd=folder
    )


def test_a_sample_job_runs_as_a_plain_command_with_a_progress_bar(sampled):
    folder, _, output = sampled
    done = run_sample(folder)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr
    tensors, meta = load_arrays(folder / output)
    assert tensors["seed1/report1/x"].shape == (256, 2) and meta["code"] and meta["nets_sha256"]["model:main"]


def test_broken_checkpoints_are_refused_and_leave_no_output(sampled):
    folder, path, output = sampled
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(run_sample(folder), "main.safetensors: is not a readable safetensors file")
    nets = ToyDenoiser(32, generator=torch.Generator().manual_seed(0)).state_dict()
    tensors = {f"seed{s}/{name}": value for s in (0, 1) for name, value in nets.items()}
    save_arrays(path, tensors, {"net": {"name": "toy", "width": 64, "layers": 4}, "seeds": [0, 1]})
    refused(run_sample(folder), "does not fit the net it names", "size mismatch")
    save_arrays(
        path,
        {"seed0/gain": torch.zeros(())},
        {"net": {"name": "toi", "width": 64, "layers": 4}, "seeds": [0]},
    )
    refused(run_sample(folder), "net 'toi' is not known", "did you mean 'toy'?")
    save_arrays(
        path,
        {"seed7/gain": torch.zeros(())},
        {"net": {"name": "toy", "width": 64, "layers": 4}, "seeds": [7]},
    )
    refused(run_sample(folder), "holds no net of training seed 0")
    assert not (folder / output).exists()


def test_an_unwritable_output_is_one_message(sampled):
    folder, _, output = sampled
    (folder / output).parent.parent.mkdir(parents=True)
    (folder / output).parent.write_text("a file where a folder should be")
    refused(run_sample(folder), "cannot be written")


def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "torch.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"}
    done = guidelab(
        "prepare", "toy2d_ci", "train", "--params", str(ROOT / "params.yaml"), cwd=tmp_path, **env
    )
    refused(done, "the package 'torch' is missing; run `make setup`")


def test_ctrl_c_exits_with_an_error_status(tmp_path):
    """The command line's library turns an interrupt into a return value; the exit status must still say it."""
    code = (
        "import sys; from guidelab.cli import app\n"
        "def stop(*given): raise KeyboardInterrupt\n"
        "app.execute = stop; sys.argv = ['guidelab', 'sample', 'a', 'b', 'c', 'd']; app.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 130, (done.returncode, done.stderr)


def test_preparing_never_overwrites_its_source(tmp_path):
    (tmp_path / "mine").mkdir()
    for target in (tmp_path / "mine", tmp_path / "mine" / "x.zip"):
        done = subprocess.run(
            [sys.executable, "-m", "guidelab.cli.app", "prepare", "image-folder", "--source", str(tmp_path / "mine"),
             "--resolution", "16", "-o", str(target)],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1 and "is the source, or inside it" in done.stderr
    assert list((tmp_path / "mine").iterdir()) == []
