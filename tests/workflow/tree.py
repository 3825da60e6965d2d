"""A copy of the project in which the workflow is run: the real Snakefile, rules, plan and profiles, small parameters."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from warm import script as warm_script

ROOT = Path(__file__).parents[2]
EXPERIMENT = "toy2d_ci"
BYTECODE = (
    "GUIDELAB_TESTS_BYTECODE"  # the folder of compiled modules of one run of the tests, from conftest.py
)
CARRIED = (
    "Snakefile",
    "params.yaml",
    "src/guidelab",
    "workflow",
    "slurm",
    ".dvc",
    ".dvcignore",
    ".gitignore",
)


def chain(params: Any, *names: str) -> dict[str, Any]:
    """Experiments by name with those they extend, in the order of params.yaml."""
    wanted = set(names)
    while more := {params["experiments"][name].get("extends") for name in wanted} - wanted - {None}:
        wanted |= more
    return {name: entry for name, entry in params["experiments"].items() if name in wanted}


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings laid over one another; what is not a mapping is replaced."""
    both = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


class Tree:
    """One copy; `fake` replaces the `guidelab` command by one that takes milliseconds, `warm` forks it with torch imported."""

    def __init__(self, root: Path, fake: bool = True, warm: bool = False):
        self.root = root
        binaries = root.parent / f"{root.name}-bin"
        self.log = binaries / "jobs.log"
        if not binaries.exists():
            binaries.mkdir()
            target = f"{Path(__file__).parent / 'fake_guidelab.py'}" if fake else "-m guidelab.cli.app"
            script = binaries / "guidelab"
            text = f'#!/bin/sh\nexec "{sys.executable}" {target} "$@"\n'
            script.write_text(warm_script() if warm else text)
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        path = os.pathsep.join([str(binaries), str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "DVC", "GIT_", "GUIDELAB"))
        }
        self.environment = kept | {
            "PATH": path,
            "PYTHONPATH": str(root / "src"),
            # not in the sources, where clones would differ; one folder for all trees, because compiling torch and
            # Snakemake again in each takes ten CPU seconds a process
            "PYTHONPYCACHEPREFIX": os.environ.get(BYTECODE) or str(binaries / "pyc"),
            "PYTHONDONTWRITEBYTECODE": "",
            "OMP_NUM_THREADS": "1",
            "FAKE_GUIDELAB_LOG": str(self.log),
            "XDG_CACHE_HOME": str(binaries / "cache"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{
                f"GIT_{who}_{what}": "test@example.org"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }

    @classmethod
    def new(
        cls,
        root: Path,
        fake: bool = True,
        experiment: str = EXPERIMENT,
        warm: bool = False,
        more: Sequence[str] = (),
    ) -> "Tree":
        """Copy the project, make a small experiment the default one, and commit.

        params.yaml keeps this experiment, `more` of them and those they extend: DVC takes four CPU seconds a call to
        read all of it.
        """
        from guidelab.plan.dvc import dvc_yaml
        from guidelab.plan.plan import Plan
        from guidelab.spec.load import load_spec
        from guidelab.spec.reading import read_yaml

        for name in CARRIED:
            source, target = ROOT / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(
                    source,
                    target,
                    ignore=shutil.ignore_patterns(
                        "__pycache__", "dvc", "tmp", "cache", "config.local", "shipped"
                    ),
                )
            else:
                shutil.copy(source, target)
        ignored = (root / ".gitignore").read_text().splitlines()  # the project ignores results made for tests
        (root / ".gitignore").write_text(
            "".join(f"{x}\n" for x in ignored if experiment not in x) + ".snakemake/\n"
        )
        tree = cls(root, fake, warm)
        kept = (experiment, *more)
        tree.write_params(
            lambda params: params.update(default=[experiment], experiments=chain(params, *kept))
        )
        plan = Plan(load_spec(root / "params.yaml"))
        (root / "dvc.yaml").write_text(dvc_yaml(plan, read_yaml(root / "params.yaml"), [experiment]))
        tree.run("git", "init", "-q", "-b", "main")
        tree.commit("start")
        return tree

    # ---- running things ------------------------------------------------------------------------------------------

    def run(self, *command: str, **more: str) -> str:
        """Run a command in the tree; its output, or a failure that shows it."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def jobs(self, *command: str, **more: str) -> set[str]:
        """Run a command; the jobs it ran, as `rule first/output`."""
        self.log.write_text("")
        self.run(*command, **more)
        return set(self.log.read_text().splitlines())

    def snakemake(self, *targets: str) -> set[str]:
        """The jobs that Snakemake runs for targets, by default all."""
        return self.jobs("snakemake", "--cores", "2", "--quiet", "all", "--rerun-incomplete", *targets)

    def planned(self, *targets: str) -> str:
        """What `snakemake -n` says."""
        return self.run("snakemake", "-n", *targets)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def clone(self, root: Path) -> "Tree":
        """A clone through git: no results but the small ones, no records."""
        self.run("git", "clone", "-q", str(self.root), str(root))
        return type(self)(root)

    # ---- editing -------------------------------------------------------------------------------------------------

    def write_params(self, change: Any) -> None:
        """Change params.yaml as a mapping."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        change(params)
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def set(self, keys: str, value: Any) -> None:
        """Set one value below the experiment: `variants.autog.weights`."""

        def change(params: Any) -> None:
            *above, last = keys.split(".")
            part = params["experiments"][EXPERIMENT]
            for key in above:
                part = part.setdefault(key, {})
            part[last] = value

        self.write_params(change)

    def keep(self, experiment: str, variants: dict[str, Any], **other: Any) -> None:
        """Leave a few variants of an experiment and none of its figures: what its table needs.

        Args:
            variants: those that stay, by name; their keys are laid over those they have, and so are the `other` ones.
        """

        def change(params: Any) -> None:
            e = params["experiments"][experiment]
            base = params["experiments"][e["extends"]]
            for key, value in (other | {"variants": variants}).items():
                e[key] = None if value is None else merged(e.get(key) or {}, value)
            gone = (set(base["variants"]) | set(e["variants"])) - set(variants)
            e["variants"] |= dict.fromkeys(sorted(gone))
            e["paper"] = (e.get("paper") or {}) | {"figures": dict.fromkeys(base["paper"]["figures"])}

        self.write_params(change)

    def append(self, path: str, text: str) -> None:
        """Add text to a file."""
        with (self.root / path).open("a") as file:
            file.write(text)
