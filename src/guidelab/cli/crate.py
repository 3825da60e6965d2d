"""`guidelab crate`: a finished run as an RO-Crate, for an archive or a reviewer."""

import datetime
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from guidelab import __version__
from guidelab.cli.commands import Params, load_plan
from guidelab.cli.trace import told_now
from guidelab.errors import UserError, counted

crate_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@crate_commands.command(rich_help_panel="Results")
def crate(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="a CSV of results/tables/")],
    output: Annotated[Path, typer.Option("--output", "-o", help="a new folder, or a name that ends in .zip")],
    params: Params = Path("params.yaml"),
) -> None:
    """Write the run that made a table as an RO-Crate: table, figures, measurements, parameters, licence, citation, code
    version, and for every job what it read and wrote, its parameters, its seconds and its machine.

    Large files are described by their sha256 and stay in DVC's store. Refused: a file that is absent or was changed since its
    job ran, and a job that ran with other parameters than params.yaml has now.
    Needs the optional package rocrate: `pip install '.[crate]'`.

    Example: `guidelab crate results/tables/toy2d.csv -o toy2d.crate.zip`

    Example: `guidelab crate results/tables/fashion.csv -o fashion-crate`
    """
    from guidelab.lineage.crate.write import write_crate
    from guidelab.lineage.trail.book import experiment_of

    path = table.as_posix().removeprefix("./")
    if not path.startswith("results/tables/") or ".." in table.parts:
        raise UserError(
            f"{table}: wanted a table below results/tables/, typed in the project's folder: results/tables/toy2d.csv"
        )
    about = _about(params, experiment_of(path))
    count = write_crate(path, output, about, told_now(load_plan(params)))
    typer.echo(
        f"{output}: {counted(count['files'], 'file')} inside, {count['described']} described by their sha256, "
        f"{counted(count['jobs'], 'job')}"
    )


def _about(params: Path, experiment: str) -> Any:
    """Version, parameters, licence and citations of the project at hand."""
    from guidelab.lineage.crate.entities import About

    cited = _citation(Path("CITATION.cff"))
    return About(
        version=_version(),
        date=datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat(),
        params=_part(params, experiment),
        license=str(cited.get("license", "Apache-2.0")),
        authors=[str(a.get("name") or f"{a.get('given-names', '')} {a.get('family-names', '')}".strip()) for a in cited.get("authors", [])],
        citations=[(str(r["title"]), str(r["url"])) for r in cited.get("references", []) if "url" in r],
        title=str(cited.get("title", "guidelab")),
    )  # fmt: skip


def _citation(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _version() -> str:
    """Package version and git's name of the code at hand; `dirty` when files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, check=False
    )
    return f"{__version__}+{done.stdout.strip()}" if done.returncode == 0 and done.stdout else __version__


def _part(params: Path, experiment: str) -> str:
    """The experiment's part of params.yaml, with those it extends, as they are written.

    Raises:
        UserError: params.yaml no longer plans the experiment.
    """
    from guidelab.spec.reading import read_yaml

    written = read_yaml(params)["experiments"]
    names: list[str] = []
    name: str | None = experiment
    while name is not None and name not in names:
        if name not in written:
            raise UserError(f"{params}: has no experiment {name!r}, whose parameters belong into the crate")
        names.append(name)
        name = (written[name] or {}).get("extends")
    part = {"experiments": {name: written[name] for name in reversed(names)}}
    return yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=110)
