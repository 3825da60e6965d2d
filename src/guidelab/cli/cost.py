"""`guidelab cost`: estimate the compute of targets before they run, optionally next to the recorded times of finished jobs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from guidelab.cli.commands import Params, load_plan
from guidelab.errors import UserError

cost_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@cost_commands.command(rich_help_panel="Parameters")
def cost(
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="experiments, or files below results/")
    ],
    gpu: Annotated[
        str, typer.Option(help="a name in workflow/resources/gpus.csv; GPU-hours are counted in it")
    ] = "H100",
    mfu: Annotated[float, typer.Option(help="share of its peak that is reached, above 0 and up to 1")] = 0.40,
    measured: Annotated[
        bool, typer.Option("--measured", help="add the recorded seconds of finished jobs")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
    params: Params = Path("params.yaml"),
) -> None:
    """Estimate the cost of targets before they run: jobs, network evaluations, GPU-hours, core-hours, disk, memory.

    Nothing is run and nothing is read but params.yaml, which outputs are there, and Snakemake's records of finished jobs.

    Example: `guidelab cost results/tables/imagenet256.csv --gpu A100`

    Example: `guidelab cost fashion --measured`

    Example: `guidelab cost results/tables/toy2d.csv results/figures/toy2d/fig9.pdf --json`
    """
    if not 0 < mfu <= 1:
        raise UserError(f"--mfu: given {mfu}, wanted above 0 and at most 1 (0.4 is usual)")
    from guidelab.costs.estimate import estimate
    from guidelab.costs.gpus import gpu as gpu_named
    from guidelab.costs.report import as_text
    from guidelab.provenance.disk import Metadata

    records = Metadata(Path())

    def seconds(output: str) -> float | None:
        """Wall-clock seconds of the job of an output; None without a record of a run on this machine."""
        record = records.read(output) or {}
        start, end = record.get("starttime"), record.get("endtime")
        if not isinstance(start, int | float) or not isinstance(end, int | float) or end <= start:
            return None  # records that came with a clone hold no times
        return float(end) - float(start)

    chosen = gpu_named(gpu)
    found = estimate(
        load_plan(params), [target.removeprefix("./") for target in targets], chosen, mfu, seconds
    )
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else as_text(found, measured))
