"""`guidelab`: every job as a plain command, and the commands that check, show and cost a plan."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from guidelab.cli.accept import accept_commands
from guidelab.cli.commands import Params, commands
from guidelab.cli.cost import cost_commands
from guidelab.cli.crate import crate_commands
from guidelab.cli.evaluate import evaluate_commands
from guidelab.cli.generate import generate
from guidelab.cli.published import published_commands
from guidelab.cli.released import released_commands
from guidelab.cli.run import execute
from guidelab.cli.study import study_commands
from guidelab.cli.trace import trace_commands
from guidelab.cli.verify import verify_commands
from guidelab.errors import UserError
from guidelab.plan.rules import RULES, maker

app = typer.Typer(
    name="guidelab",
    help="Train, guide, sample and measure diffusion models, with a recorded origin for every number.\n\n"
    "Every job of the workflow is a command here: name what params.yaml names, and it reads and writes the "
    "planned files. Snakemake calls `guidelab run` with the job's own part of the parameters as JSON on standard input.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

JobJson = Annotated[
    str | None,
    typer.Option("--job", help="the job as JSON, instead of names; - reads it from standard input"),
]
Outputs = Annotated[
    list[Path] | None, typer.Option("--output", "-o", help="where to write, with --job or a DATASET")
]
Threads = Annotated[int, typer.Option(help="CPU threads for torch", min=1)]


def _command(rule: str) -> Callable[..., None]:
    known = RULES[rule]

    def command(
        names: Annotated[
            list[str] | None, typer.Argument(help="as in params.yaml", metavar=known.metavar)
        ] = None,
        job: JobJson = None,
        output: Outputs = None,
        params: Params = Path("params.yaml"),
        threads: Threads = 1,
    ) -> None:
        execute(rule, names or [], job, output or [], params, threads)

    examples = (f"Example: `guidelab {known.command or rule} {example}`" for example in known.examples)
    command.__doc__ = "\n\n".join([known.help, *examples])
    return command


for _group in (
    commands,
    accept_commands,
    cost_commands,
    published_commands,
    released_commands,
    trace_commands,
    crate_commands,
    verify_commands,
    evaluate_commands,
    study_commands,
):
    app.add_typer(_group)
for _rule in RULES:
    if _rule not in ("prepare", "generate"):
        _job, _name = _command(_rule), RULES[_rule].command
        app.command(_name or _rule, rich_help_panel="Jobs")(_job)
        if _name:  # the rule's name was the command's, too
            app.command(_rule, hidden=True)(_job)
app.command(rich_help_panel="Your own files")(generate)


@app.command("run", rich_help_panel="Workflow")
def run_planned(
    output: Annotated[
        list[Path], typer.Option("--output", "-o", help="the job's files, in the plan's order")
    ],
    others: Annotated[list[Path] | None, typer.Argument(metavar="[OUTPUTS]", help="more of them")] = None,
    threads: Threads = 1,
) -> None:
    """Run the job that standard input describes as JSON; its first output says which rule it is of (Snakemake calls this).

    Example: `guidelab job table toy2d | jq .job | guidelab run -o results/tables/toy2d.csv results/tables/toy2d.md results/tables/toy2d.tex`
    """
    outputs = [*output, *(others or [])]
    made = maker(outputs[0].as_posix())
    if made is None:
        raise UserError(
            f"{outputs[0]}: no rule makes this file; wanted a planned path below results/. "
            "To write elsewhere: guidelab RULE --job - -o FILE"
        )
    execute(made[0], [], "-", outputs, Path("params.yaml"), threads)


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
    split: Annotated[
        str | None,
        typer.Option(
            help="with DATASET: train, holdout or test; of your own images also all, the default for them"
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="with DATASET: your folder or ZIP")] = None,
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
    from guidelab.jobs.image_folds import prepare_dataset

    target = (output or [Path()])[0].resolve()
    if source is not None and (target == source.resolve() or source.resolve() in target.parents):
        raise UserError(
            f"{target}: is the source, or inside it; give --output another place, so that nothing is overwritten"
        )
    name = (names or [""])[0].replace("-", "_")
    split = split or ("all" if name in ("image_folder", "image_zip") else "train")
    dataset = {"name": name, "resolution_px": resolution, "subset": subset}
    dataset |= {"source": str(source)} if source else {}
    made = prepare_dataset(dataset, split, n, seed, target, threads)
    size, labels = (
        " x ".join(map(str, made.shape)),
        f"{made.classes} classes" if made.classes else "no labels",
    )
    typer.echo(f"{target}: {made.n} {made.what} of {size}, {labels}, split {split}")


def main() -> None:
    """Run a command; a mistake the user can correct is one message and exit status 1, without a traceback."""
    from guidelab.cli.runtime import EXIT_STOPPED
    from guidelab.train.stop import Stopped

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
