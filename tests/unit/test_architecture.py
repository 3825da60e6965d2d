"""Rules of the package layout: which package may import which, how long a file may be, what may not be in it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "guidelab"

# package -> packages it may import; "*" for everything below the command line
ALLOWED = {
    "errors": set(),
    "core": {"core", "errors"},
    "nets": {"nets", "core", "errors"},
    "data": {"data", "core", "errors"},
    "metrics": {"metrics", "core", "errors"},
    "paper": {"paper", "errors"},
    "train": {"train", "compute", "core", "io", "nets", "data", "errors"},
    "io": {"io", "errors"},
    "registry": {"registry", "errors"},
    "spec": {"spec", "registry", "project", "released", "nearest", "errors"},
    "plan": {
        "spec",
        "registry",
        "released",
        "project",
        "digest",
        "environment",
        "nearest",
        "errors",
    },
    "released": {"errors"},
    "project": {"project"},
    "environment": {"errors"},
    "nearest": {"errors"},
    "digest": {"digest", "registry", "errors"},
    "provenance": {"plan", "digest", "errors"},
    "runtime": {
        "runtime",
        "costs",
        "environment",
        "io",
        "plan",
        "provenance",
        "spec",
        "train",
        "errors",
    },  # around a job's process: locks, restarts, planned stops, Slurm
    "accept": {"accept", "costs", "plan", "provenance", "registry", "spec", "errors"},
    "lineage": {
        "lineage",
        "provenance",
        "paper",
        "registry",
        "nearest",
        "errors",
    },  # from a printed number back to its data; a run for an archive
    "divergence": {"divergence", "metrics", "train", "core", "errors"},  # nets and examples in, lines out
    "assemble": {"assemble", "compute", "registry", "io", "core", "errors"},
    "compute": {"compute", "core", "environment", "io", "errors"},
    "sampling": {
        "sampling",
        "assemble",
        "autoencoder",
        "compute",
        "core",
        "data",
        "io",
        "registry",
        "errors",
    },
    "checkpoints": {
        "checkpoints",
        "nets",
        "data",
        "core",
        "released",
        "io",
        "errors",
    },  # data: budgets, archives
    "autoencoder": {"core", "metrics", "io", "errors"},
    "synthetic": {"synthetic", "checkpoints", "autoencoder", "nets", "data", "released", "io", "errors"},
    "costs": {"*"},  # counts what a plan would do: from the spec, the nets and the plan itself
    "features": {
        "features",
        "nets",
        "metrics",
        "core",
        "io",
        "errors",
    },  # reads weights: images in, features out; metrics: what repairs the import of torchvision
    "jobs": {
        "jobs",
        "assemble",
        "autoencoder",
        "checkpoints",
        "compute",
        "core",
        "costs",
        "data",
        "divergence",
        "environment",
        "features",
        "io",
        "metrics",
        "nets",
        "paper",
        "registry",
        "released",
        "sampling",
        "synthetic",
        "train",
        "errors",
    },  # one function a rule: load, call, save
    "api": {
        "*"
    },  # what `import guidelab` gives: the same functions for callers with nets of their own; nothing imports it
    "study": {"*"},  # a user's own files through the same jobs; the command line is above it
    "cli": {"*"},
}
PARSE_TIME = (
    "errors",
    "registry",
    "registry.plugins",
    "spec",
    "spec.load",
    "spec.schema",
    "plan.plan",
    "plan.absent",
    "plan.dvc",
    "plan.resources",
    "plan.targets",
    "released",
    "project",
    "digest",
    "provenance",
    "runtime.preflight",
    "runtime.restart",
    "runtime.running",
    "runtime.worker",
    "runtime.slurm.orphans",
    "runtime.slurm.site",
    "runtime.summary",
)
HEAVY = {"torch", "pandas", "scipy", "seaborn", "matplotlib", "numpy"}
MAX_LINES = 300
FLOORS = 8


def files() -> list[Path]:
    return [p for p in sorted(SRC.rglob("*.py")) if p.name != "__init__.py" or p.parent != SRC]


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            found |= {node.module or ""}
            if node.module == "guidelab":
                found |= {f"guidelab.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_downwards_only(path):
    own = room(path)
    assert own in ALLOWED, f"{path}: a room the design does not know"
    used = {name.split(".")[1] for name in imported(path) if name.startswith("guidelab.")}
    if "*" not in ALLOWED[own]:
        assert used <= ALLOWED[own] | {own}, f"{path} imports {sorted(used - ALLOWED[own])}"
    assert "cli" not in used or own == "cli"
    assert "api" not in used or own == "api", "jobs would reach all it collects"


def test_modules_import_modules_not_the_public_names():
    """The digest of a job does not look into guidelab/__init__.py: what a module takes from there would be in none."""
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "guidelab":
                for alias in node.names:
                    if alias.name == "__version__":
                        continue
                    place = SRC / alias.name
                    assert place.with_suffix(".py").is_file() or place.is_dir(), f"{path}: {alias.name}"


def test_public_names_hide_no_module_and_are_listed_twice_alike():
    import guidelab
    from guidelab import api

    assert guidelab.__all__ == sorted(guidelab.__all__) == api.__all__
    assert not {path.stem for path in SRC.iterdir()} & set(guidelab.__all__), (
        "an imported module would replace the name"
    )
    stub = [
        alias.asname
        for node in ast.walk(ast.parse((SRC / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "guidelab.api"
        for alias in node.names
    ]
    assert sorted(stub) == guidelab.__all__


def test_rooms_lie_on_eight_floors_without_a_circle():
    """A room is a package of the first level or a module at the root; its floor is one above the highest it imports."""
    below: dict[str, set[str]] = {}
    for path in files():
        used = {name.split(".")[1] for name in imported(path) if name.startswith("guidelab.")}
        below.setdefault(room(path), set()).update(used - {room(path)})
    floors: list[set[str]] = []
    while below:
        floors.append({name for name, used in below.items() if not used & below.keys()})
        assert floors[-1], f"these import each other: {sorted(below)}"
        below = {name: used for name, used in below.items() if name not in floors[-1]}
    assert len(floors) <= FLOORS, [sorted(floor) for floor in floors]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_files_stay_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path}: {lines} lines; a file that needs more has two rooms in it"


def test_the_snakefile_imports_nothing_heavy():
    code = (
        "import sys; sys.path.insert(0, 'src')\n"
        + "\n".join(f"import guidelab.{name}" for name in PARSE_TIME)
        + f"\nprint(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_help_imports_neither_the_specification_nor_anything_heavy():
    code = f"import guidelab.cli.app, sys; print(sorted(set(sys.modules) & {HEAVY | {'pydantic', 'guidelab.spec'}!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["core", "metrics", "nets", "paper"])
def test_rooms_of_pure_functions_touch_no_files_environment_or_arguments(name):
    forbidden = {"argparse", "os", "pathlib", "subprocess", "typer", "yaml", "tempfile"}
    for path in (SRC / name).rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert not imported(path) & forbidden, path
        calls = {
            n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert not calls & {"open", "print", "input"}, path


@pytest.mark.parametrize("name", ["core", "train", "sampling", "data", "nets"])
def test_no_global_random_numbers(name):
    place = SRC / name
    for path in [place] if place.is_file() else place.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in {
                    "torch.manual_seed",
                    "random.seed",
                    "np.random.seed",
                    "numpy.random.seed",
                }, path
                if called in {
                    "torch.randn",
                    "torch.rand",
                    "torch.randint",
                    "torch.randperm",
                    "torch.multinomial",
                }:
                    given = {keyword.arg for keyword in node.keywords}
                    assert "generator" in given, f"{path}:{node.lineno}: {called} without a generator"


def test_rules_are_file_names_and_one_command():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        text = path.read_text()
        assert "\n    run:" not in text and "script:" not in text, (
            f"{path}: a rule calls a command, not Python"
        )
        assert "retries:" not in text, (
            f"{path}: retries belong to the profile; a rule's are multiplied on a cluster"
        )


def test_every_registered_name_exists_and_methods_agree_on_their_neutral_weight():
    from guidelab import registry

    for kind, entries in registry.KINDS.items():
        for name in entries:
            assert registry.load(kind, name) is not None
    for name, entry in registry.METHODS.items():
        made = registry.load("method", name)
        built = made(1.0) if not entry.needs else made(lambda x, sigma, cond: x, 1.0)
        assert built.neutral == entry.neutral, name


def test_no_default_profile_is_loaded_by_itself_and_slurm_is_found():
    for place in ("default", "profiles/default", "workflow/profiles/default"):
        assert not (ROOT / place).exists(), f"{place}: would override the slurm profile key by key"
    assert (ROOT / "slurm" / "config.yaml").is_file()


def test_tracked_files_name_no_machine():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        path = ROOT / name
        if (
            path.suffix in {".py", ".smk", ".md", ".yaml", ".toml", ".csv", ".json", ".rst"}
            and path.is_file()
        ):
            text = path.read_text(encoding="utf-8")
            for word in ("/root/", "/home/"):
                assert word not in text or path == Path(__file__), f"{name}: {word}"
