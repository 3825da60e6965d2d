"""`guidelab verify`: recompute measured image metrics with torch-fidelity."""

from pathlib import Path
from typing import Annotated

import typer

from guidelab.cli.commands import Params, load_plan
from guidelab.cli.evaluate import Device, Threads
from guidelab.errors import UserError

verify_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@verify_commands.command(rich_help_panel="Results")
def verify(
    experiment: Annotated[str, typer.Argument(help="of images, as in params.yaml")],
    point: Annotated[
        list[str] | None,
        typer.Option(help="cfg/w2.00, several times for more; by default those of the headline"),
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="a feature space, several times for more; by default all")
    ] = None,
    block: Annotated[
        str | None, typer.Option(help="of samples; by default the first that is reported")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="the numbers as a CSV; the table is written next to it as .md"),
    ] = None,
    device: Device = None,
    threads: Threads = 1,
    params: Params = Path("params.yaml"),
) -> None:
    """Compute FID, KID, precision, recall and Inception score of a run's images with torch-fidelity, and compare them with ours.

    torch-fidelity reads the images, extracts features with the experiment's extractors and computes each number twice: with
    our settings, and with its defaults. The table says where the numbers differ and why. Ends with status 1 where a number
    under the same settings is another one. Nothing is downloaded.

    Example: `guidelab verify fashion --point cfg/w2.00 --features lite0`

    Example: `guidelab verify fashion_full --device cuda -o verify.csv`
    """
    from guidelab.cli.runtime import choose_device, limit_threads, write_text

    if output is not None and output.suffix != ".csv":
        raise UserError(f"--output: given {output}, wanted a file .csv")
    limit_threads(threads)
    choose_device(device)
    from guidelab.io import write_csv
    from guidelab.study.verify.cases import cases
    from guidelab.study.verify.numbers import verified
    from guidelab.study.verify.text import document

    plan = load_plan(params)
    found = verified(plan, experiment, cases(plan, experiment, point or [], block, features or []))
    text = document(found)
    typer.echo(text, nl=False)
    if output is not None:
        write_csv(output, found.table)
        write_text(output.with_suffix(".md"), text)
    if not found.table.agrees.all():
        raise typer.Exit(1)
