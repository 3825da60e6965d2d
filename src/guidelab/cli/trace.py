"""`guidelab trace`: follow one printed number back to the rows, samples, nets, data and code behind it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab.cli.commands import Params, load_plan
from guidelab.errors import UserError

trace_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@trace_commands.command(rich_help_panel="Results")
def trace(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="a CSV, or any file, below results/")],
    row: Annotated[
        list[str] | None,
        typer.Option(
            "--row", "-r", help="its number (the first below the header is 1), or column=value,column=value"
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--column", "--metric", "-c", help="of the number, where a row holds several: fid@lite0"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
    params: Params = Path("params.yaml"),
) -> None:
    """Print the trail of one number: measured rows, seeds, nets and their hashes, data; of every job its code, parameters,
    package versions, machine, seconds and log. Every file that is here is read and compared with what its job wrote.

    Ends with status 1 when a file was changed or the records contradict each other. Without `--row`: the trail of a file.

    Example: `guidelab trace results/tables/toy2d.csv --row variant=autog,w=3,metric=outliers_99`

    Example: `guidelab trace results/tables/fashion.csv --row variant=cfg,w=2 --column fid@lite0`

    Example: `guidelab trace results/tables/fashion.csv --row 3 --column 'recall@lite0 difference' --json`

    Example: `guidelab trace results/toy2d/models/main.safetensors`
    """
    from guidelab.lineage.trail.text import as_text
    from guidelab.lineage.trail.trace import changed
    from guidelab.lineage.trail.trace import trace as follow

    path = table.as_posix().removeprefix("./")
    if not path.startswith("results/") or ".." in table.parts:
        raise UserError(
            f"{table}: wanted a file below results/, typed in the project's folder: results/tables/toy2d.csv"
        )
    found = follow(path, row or [], column, told_now(_plan(params)))
    typer.echo(json.dumps(found, indent=1) if as_json else as_text(found))
    if changed(found):
        raise typer.Exit(1)


def told_now(plan: Any) -> Any:
    """A function from a file to the current parameters of its job; called by `accept` in old commits, so its name stays.

    Args:
        plan: of params.yaml; None when that cannot be read, then no job is planned.
    """
    from guidelab.plan.rules import maker

    def now(path: str) -> Mapping[str, Any] | None:
        key = maker(path)
        if plan is None or key is None:
            return None
        try:
            found: Mapping[str, Any] = json.loads(plan.payload(*key))
        except UserError:
            return None
        return found

    return now


def code_now(outputs: Sequence[Path]) -> str | None:
    """The digest of this code for the job that params.yaml plans for some outputs; None if it plans none."""
    plan = _plan(Path("params.yaml"))
    found = [told_now(plan)(output.as_posix()) for output in outputs[:1]]
    return next((str(planned["code"]) for planned in found if planned), None)


def _plan(params: Path) -> Any:
    """The plan, or None: a trace is shown even if params.yaml is invalid now."""
    try:
        return load_plan(params)
    except UserError:
        return None
