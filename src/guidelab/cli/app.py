"""`guidelab`: every job as a plain command, and the commands that check, show and cost a plan."""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab import registry
from guidelab.cli.accept import accept_commands
from guidelab.cli.claim import claimed, held, taken_over
from guidelab.cli.commands import JOBS, Params, commands, load_plan
from guidelab.cli.cost import cost_commands
from guidelab.cli.crate import crate_commands
from guidelab.cli.noted import noted
from guidelab.cli.planned import planned
from guidelab.cli.published import published_commands
from guidelab.cli.released import released_commands
from guidelab.cli.trace import trace_commands
from guidelab.errors import UserError

app = typer.Typer(
    name="guidelab",
    help="Train, guide, sample and measure diffusion models, with a trail for every number.\n\n"
    "Every job of the workflow is a command here: name what params.yaml names, and it reads and writes the "
    "planned files. Snakemake calls the same commands with the job's own part of the parameters as JSON.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

JobJson = Annotated[
    str | None, typer.Option("--job", help="the job as JSON, instead of names (what Snakemake passes)")
]
Outputs = Annotated[
    list[Path] | None, typer.Option("--output", "-o", help="where to write, with --job or a DATASET")
]
Threads = Annotated[int, typer.Option(help="CPU threads for torch", min=1)]


def run_job(rule: str, job: dict[str, Any], outputs: list[Path]) -> None:
    """Check that the inputs are there, then run a job's module; no other process makes the same outputs meanwhile.

    Raises:
        UserError: an input is absent, another process is at work, or the module says what is wrong.
    """
    for label, paths in job["inputs"].items():
        for path in paths:
            if not Path(path).is_file():
                raise UserError(
                    f"{path}: no such file, wanted as {label!r} of {rule}. Build it with: snakemake -c2 {path}"
                )
    module = JOBS[rule][0]
    command = job.get("command", module)
    kinds = [module, *(f"{kind}.{module}" for kind in ("images", "large", "sigma"))]
    if command not in kinds:
        raise UserError(f"--job: command {command!r} is not {rule}'s; wanted one of {', '.join(kinds)}")
    if command in ("large.train", "large.sample") and several():
        with held(rule, outputs):
            if taken_over(job, outputs):
                return
        share(sys.argv)
    with claimed(rule, job, outputs) as wanted:
        if wanted:
            with planned(command, job, outputs), noted(job, outputs):
                import_module(f"guidelab.cli.{command}").run(job, outputs)


def several() -> bool:
    """Whether several GPUs are to share a job, and this process is not one of those that do."""
    if "RANK" in os.environ or os.environ.get("GUIDELAB_DEVICE"):
        return False
    import torch

    return torch.cuda.device_count() > 1


def share(arguments: list[str]) -> None:
    """Go on as one process for each GPU: the job is then shared by torchrun's workers."""
    import torch

    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(torch.cuda.device_count())]
    os.execv(sys.executable, [sys.executable, *run, "-m", "guidelab.cli.app", *arguments[1:]])


def execute(
    rule: str, names: list[str], job: str | None, output: list[Path], params: Path, threads: int
) -> None:
    """Run a job given as JSON with its outputs, or by its names in params.yaml.

    Raises:
        UserError: neither is complete.
    """
    from guidelab.cli.runtime import limit_threads

    limit_threads(threads)
    if job is not None:
        # `-o a b c`: the shell gives the first to -o and the rest as names
        payload, targets = parse_job(job), [*output, *(Path(name) for name in names)]
        if not output:
            raise UserError(f"guidelab {rule}: --job needs --output and takes no names; given names {names}")
    else:
        wanted = JOBS[rule][1].split()
        if len(names) != len(wanted):
            raise UserError(
                f"guidelab {rule}: given {len(names)} names, wanted {len(wanted)}: {' '.join(wanted)} "
                f"(for example: guidelab {rule} {JOBS[rule][3][0]})"
            )
        plan = load_plan(params)
        found = plan.job(rule, *names)
        payload, targets = (
            json.loads(plan.payload(rule, *names)),
            [Path(p) for p in found.outputs],
        )
    run_job(rule, payload, targets)


def _command(rule: str) -> Callable[..., None]:
    names_help = f"as in params.yaml: {JOBS[rule][1]}"

    def command(
        names: Annotated[list[str] | None, typer.Argument(help=names_help, metavar=JOBS[rule][1])] = None,
        job: JobJson = None,
        output: Outputs = None,
        params: Params = Path("params.yaml"),
        threads: Threads = 1,
    ) -> None:
        execute(rule, names or [], job, output or [], params, threads)

    command.__doc__ = f"{JOBS[rule][2]}\n\n" + "\n\n".join(
        f"Example: `guidelab {rule} {e}`" for e in JOBS[rule][3]
    )
    return command


def parse_job(text: str) -> dict[str, Any]:
    """A job's JSON.

    Raises:
        UserError: not JSON, or not an object with `inputs`.
    """
    try:
        job = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--job: is not JSON ({error}); see `guidelab job RULE NAMES...`") from error
    if not isinstance(job, dict) or not isinstance(job.get("inputs"), dict):
        raise UserError("--job: wanted a JSON object with `inputs`; see `guidelab job RULE NAMES...`")
    return job


for _group in (
    commands,
    accept_commands,
    cost_commands,
    published_commands,
    released_commands,
    trace_commands,
    crate_commands,
):
    app.add_typer(_group)
for _rule in JOBS:
    if _rule != "prepare":
        app.command(_rule, rich_help_panel="Jobs")(_command(_rule))


@app.command(rich_help_panel="Jobs")
def prepare(
    names: Annotated[list[str] | None, typer.Argument(metavar="EXPERIMENT FOLD, or DATASET")] = None,
    job: JobJson = None,
    output: Outputs = None,
    params: Params = Path("params.yaml"),
    threads: Threads = 1,
    resolution: Annotated[
        int | None, typer.Option(help="with DATASET: height and width in pixels", min=1)
    ] = None,
    split: Annotated[str, typer.Option(help="with DATASET: train, holdout or test")] = "train",
    source: Annotated[Path | None, typer.Option(help="with DATASET: a folder or ZIP of yours")] = None,
    n: Annotated[int | None, typer.Option(help="with DATASET: so many images of the split", min=1)] = None,
    seed: Annotated[int, typer.Option(help="with DATASET: chooses the n")] = 0,
    subset: Annotated[
        bool, typer.Option("--subset", help="with imagenet: files may be missing from its classes")
    ] = False,
) -> None:
    """Draw or read one fold of real data; or write a dataset of images as a ZIP in the EDM2 format.

    Example: `guidelab prepare toy2d reference`

    Example: `guidelab prepare fashion-mnist --resolution 16 --split test -o test.zip`

    Example: `guidelab prepare image-folder --source ~/pictures --resolution 64 -o train.zip`

    Example: `guidelab prepare imagenet --source /data/ILSVRC2012 --resolution 64 -o train.zip`
    """
    if job is not None or len(names or []) != 1:
        execute("prepare", names or [], job, output or [], params, threads)
        return
    if resolution is None or len(output or []) != 1:
        raise UserError(
            f"guidelab prepare {(names or [''])[0]}: wanted --resolution and one --output (for example: guidelab prepare "
            "fashion-mnist --resolution 16 -o train.zip), or an experiment and a fold"
        )
    from guidelab.cli.images.prepare import prepare_dataset

    target = (output or [Path()])[0].resolve()
    if source is not None and (target == source.resolve() or source.resolve() in target.parents):
        raise UserError(
            f"{target}: is the source, or inside it; give --output another place, so that nothing is overwritten"
        )
    name = (names or [""])[0].replace("-", "_")
    if registry.entry("dataset", name).needs == "stream":
        from guidelab.cli.large.prepare import prepare_streamed

        told = {"name": name, "resolution_px": resolution, "source": str(source) if source else None}
        told |= {"subset": True} if subset else {}
        typer.echo(f"{target}: {prepare_streamed(told, split, n, seed, target, threads)} images")
        return
    found = prepare_dataset((names or [""])[0], split, resolution, source, n, seed, target)
    channels, height, width = found.images.shape[1:]
    labels = "no labels" if found.labels is None else f"{len(set(found.labels.tolist()))} classes"
    typer.echo(f"{target}: {len(found.images)} images of {channels} x {height} x {width}, {labels}")


def main() -> None:
    """Run a command; a mistake the user can mend is one message and exit status 1, without a traceback."""
    from guidelab.cli.runtime import EXIT_STOPPED, Stopped

    try:
        code = app(standalone_mode=False)
        if isinstance(code, int) and code:  # typer turns Ctrl-C into a return value: 130
            sys.exit(code)
    except UserError as error:
        sys.exit(f"guidelab: {error}")
    except Stopped as error:
        print(f"guidelab: {error}", file=sys.stderr)
        sys.exit(EXIT_STOPPED)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # click's usage errors
            sys.exit(f"guidelab: {error.format_message()} (see guidelab --help)")
        if isinstance(error, ModuleNotFoundError):
            sys.exit(
                f"guidelab: the package {error.name!r} is missing; run `make setup` in the project's folder"
            )
        raise


if __name__ == "__main__":
    main()
