"""A small experiment of points with the real commands, and its code, which the tests of `guidelab accept` change."""

import shutil
import subprocess
import sys
from pathlib import Path

from tree import EXPERIMENT, Tree

from guidelab.plan.dvc import dvc_yaml
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec
from guidelab.spec.reading import read_yaml

RESULTS = f"results/{EXPERIMENT}"
ASSEMBLE, HEUN = "src/guidelab/assemble/guided.py", "src/guidelab/core/samplers/heun.py"
FIRST, DG = (f"{RESULTS}/samples/{name}/seed0.safetensors" for name in ("dg_first/w2.00", "dg/w1.00"))


def smaller(params):
    """Points without guidance and with a discriminator at one or both stages of a step; one training seed."""
    part = params["experiments"][EXPERIMENT]
    kept = ("dg", "dg_first")
    variants = params["experiments"]["toy2d"]["variants"]
    part["variants"] = {name: None for name in variants if name not in (*kept, "none")}
    part["variants"] |= {name: {"weights": [2.0 if name != "dg" else 1.0]} for name in kept}
    part["variants"]["dg_first"] |= {"train_seeds": [0]}
    part["denoisers"]["s"]["train"] |= {"seeds": [0], "nimg": "2Ki"}
    part["denoisers"]["s"]["train"].pop("seeds_per_job", None)
    part["denoisers"] |= dict.fromkeys(("xs", "xs_long", "xs_uncond"))
    models = ("weak", "averaged", "blind", "drop5", "drop10", "noise10", "noise20", "small", "short")
    part["models"] |= dict.fromkeys(models) | {"main": {"nimg": "2Ki"}}
    part["discriminators"]["grade"] = None
    part["folds"] |= dict.fromkeys(("fresh", "judge"))
    part["divergences"] = None
    part["evaluate"] |= {"density": None, "select_metric": ["mean_log_p"]}
    figures = params["experiments"]["toy2d"]["paper"]["figures"]
    part["paper"] = {"figures": dict.fromkeys(figures), "headline": ["none"]}


def build(root: Path) -> Tree:
    """The experiment built, committed and pushed to a folder."""
    tree = Tree.new(root, fake=False, warm=True)
    tree.write_params(smaller)
    path = tree.root / "params.yaml"
    (tree.root / "dvc.yaml").write_text(dvc_yaml(Plan(load_spec(path)), read_yaml(path), [EXPERIMENT]))
    tree.commit("a smaller experiment")
    tree.run("snakemake", "--cores", "2", "--quiet", "all")
    tree.run("dvc", "commit", "-q", "-f")
    tree.commit("results")
    tree.run("dvc", "remote", "add", "-d", "store", str(tree.root.parent / "store"))
    tree.commit("remote")
    tree.run("dvc", "push", "-q")
    return tree


def copy_of(built: Tree, root: Path) -> Tree:
    """A copy of a built tree to play with."""
    shutil.copytree(built.root, root, symlinks=True)
    return Tree(root, fake=False, warm=True)


def accept(tree: Tree, *arguments: str, **more: str) -> tuple[int, str]:
    """Run `guidelab accept` with the code of a tree; its status and all it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "guidelab.cli.app", "accept", *arguments],
        cwd=tree.root, env=tree.environment | more, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def change(tree: Tree, path: str, old: str, new: str) -> None:
    """Replace text in a source file, which must hold it."""
    file = tree.root / path
    text = file.read_text()
    assert old in text, (path, old)
    file.write_text(text.replace(old, new))
