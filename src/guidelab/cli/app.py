"""`guidelab`: every job as a plain command, and the commands that check, show and cost a plan."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

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

Params = Annotated[Path, typer.Option("--params", help="the parameters file")]
JobJson = Annotated[
    str | None, typer.Option("--job", help="the job as JSON, instead of names (what Snakemake passes)")
]
Outputs = Annotated[list[Path] | None, typer.Option("--output", "-o", help="where to write, with --job")]
Threads = Annotated[int, typer.Option(help="CPU threads for torch", min=1)]

# rule -> (module under cli/, the names it takes, one line, examples)
JOBS: dict[str, tuple[str, str, str, list[str]]] = {
    "prepare": ("prepare", "EXPERIMENT FOLD", "Draw or read one fold of real data.", ["toy2d reference"]),
    "train": ("train", "EXPERIMENT DENOISER PART", "Train a denoiser, resumable, keeping snapshots.", ["toy2d xs seeds0-4"]),
    "reconstruct": ("reconstruct", "EXPERIMENT MODEL", "Take a model at its training and EMA length.", ["toy2d averaged"]),
    "generate": ("sample", "EXPERIMENT DISC", "Draw the generated side of a guiding discriminator.", ["toy2d guide"]),
    "discriminate": ("discriminate", "EXPERIMENT DISC", "Train a guiding discriminator.", ["toy2d guide"]),
    "sample": ("sample", "EXPERIMENT VARIANT WEIGHT PART", "Draw every seed block of one point.", ["toy2d cfg w4.00 seeds0-4"]),
    "density": ("density", "EXPERIMENT VARIANT WEIGHT PART", "Exact log-densities under the sampler's ODE.", ["toy2d autog w3.00 seeds0-4"]),
    "grade": ("discriminate", "EXPERIMENT GRADER VARIANT WEIGHT PART", "Train the discriminator that grades one point.", ["toy2d grade none w1.00 seeds0-4"]),
    "extract": ("extract", "EXPERIMENT FEATURES IMAGES", "Features of a fold of images or of a point's samples.", ["fashion lite0 cfg/w2.00/seed0", "fashion lite0 data/reference"]),
    "measure": ("measure", "EXPERIMENT VARIANT WEIGHT PART", "All numbers of one point, one row each.", ["toy2d autog w3.00 seeds0-4"]),
    "collect": ("collect", "EXPERIMENT", "Concatenate the rows and choose each variant's weight.", ["toy2d"]),
    "field": ("field", "EXPERIMENT FIGURE", "Evaluate nets on what a figure draws.", ["toy2d fig9"]),
    "table": ("table", "EXPERIMENT", "The experiment's table: CSV, Markdown, LaTeX.", ["toy2d"]),
    "figure": ("figure", "EXPERIMENT FIGURE", "One figure: PDF, PNG and the rows it plots.", ["toy2d sweep"]),
    "preview": ("preview", "EXPERIMENT VARIANT WEIGHT PART", "A few samples of one point as a picture.", ["fashion cfg w2.00 seed0"]),
    "story": ("story", "EXPERIMENT", "What the numbers say, beside what the paper's pictures suggest.", ["toy2d"]),
}  # fmt: skip


def _plan(params: Path) -> Any:
    from guidelab.plan import Plan
    from guidelab.specload import load_spec

    return Plan(load_spec(params))


def run_job(rule: str, job: dict[str, Any], outputs: list[Path]) -> None:
    """Check that the inputs are there, then run a job's module.

    Raises:
        UserError: an input is absent, or the module says what is wrong.
    """
    for label, paths in job["inputs"].items():
        for path in paths:
            if not Path(path).is_file():
                raise UserError(
                    f"{path}: no such file, wanted as {label!r} of {rule}. Build it with: snakemake -c2 {path}"
                )
    module = JOBS[rule][0]
    command = job.get("command", module)
    if command not in (module, f"images.{module}"):
        raise UserError(f"--job: command {command!r} is not {rule}'s; wanted {module} or images.{module}")
    import_module(f"guidelab.cli.{command}").run(job, outputs)


def _command(rule: str) -> Callable[..., None]:
    names_help = f"as in params.yaml: {JOBS[rule][1]}"

    def command(
        names: Annotated[list[str] | None, typer.Argument(help=names_help, metavar=JOBS[rule][1])] = None,
        job: JobJson = None,
        output: Outputs = None,
        params: Params = Path("params.yaml"),
        threads: Threads = 1,
    ) -> None:
        from guidelab.cli.runtime import limit_threads

        limit_threads(threads)
        if job is not None:
            # `-o a b c`: the shell gives the first to -o and the rest as names
            payload, targets = parse_job(job), [*(output or []), *(Path(name) for name in names or [])]
            if not output:
                raise UserError(
                    f"guidelab {rule}: --job needs --output and takes no names; given names {names}"
                )
        else:
            wanted = JOBS[rule][1].split()
            if len(names or []) != len(wanted):
                raise UserError(
                    f"guidelab {rule}: given {len(names or [])} names, wanted {len(wanted)}: {' '.join(wanted)} "
                    f"(for example: guidelab {rule} {JOBS[rule][3][0]})"
                )
            plan = _plan(params)
            found = plan.job(rule, *(names or []))
            payload, targets = (
                json.loads(plan.payload(rule, *(names or []))),
                [Path(p) for p in found.outputs],
            )
        run_job(rule, payload, targets)

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


for _rule in JOBS:
    app.command(_rule, rich_help_panel="Jobs")(_command(_rule))


@app.command(rich_help_panel="Parameters")
def check(params: Params = Path("params.yaml")) -> None:
    """Check params.yaml and say what it plans, one line an experiment.

    Example: `guidelab check`
    """
    plan = _plan(params)
    for name, experiment in plan.spec.experiments.items():
        layout = plan.experiment(name)
        points = len({run.point for run in layout.runs})
        typer.echo(
            f"{name} ({experiment.scale}): {len(experiment.denoisers)} nets, {len(experiment.variants)} variants, "
            f"{points} points, figures {', '.join(layout.figures) or 'none'}; table {layout.table[0]}"
        )


@app.command(rich_help_panel="Parameters")
def show(experiment: str, params: Params = Path("params.yaml")) -> None:
    """List every point of an experiment with its method, weight and training seeds.

    Example: `guidelab show toy2d`
    """
    plan = _plan(params).experiment(experiment)
    for run in plan.runs:
        variant = plan.spec.variants[run.variant]
        terms = ", ".join(f"{t.method}({t.ref or t.disc or ''})" for t in variant.guide) or "no guidance"
        typer.echo(f"{run.point:24} {run.part:10} main={variant.main}  {terms}")


@app.command(rich_help_panel="Parameters")
def job(
    names: Annotated[list[str], typer.Argument(metavar="RULE EXPERIMENT [NAMES]")],
    params: Params = Path("params.yaml"),
) -> None:
    """Print one job as Snakemake would pass it: inputs, outputs, its part of the parameters, its code digest.

    Example: `guidelab job sample toy2d cfg w4.00 seeds0-4`
    """
    rule, *rest = names
    if rule not in JOBS or len(rest) != len(JOBS[rule][1].split()):
        wanted = JOBS[rule][1] if rule in JOBS else f"one of {', '.join(JOBS)}"
        raise UserError(f"guidelab job: given {' '.join(names)!r}, wanted a rule and its names: {wanted}")
    plan = _plan(params)
    found = plan.job(rule, *rest)
    typer.echo(json.dumps({"outputs": found.outputs, "job": json.loads(plan.payload(rule, *rest))}, indent=1))


@app.command(rich_help_panel="Parameters")
def schema() -> None:
    """Print the JSON Schema of params.yaml (kept in workflow/schemas/, for editors).

    Example: `guidelab schema > workflow/schemas/params.schema.json`
    """
    from guidelab.specload import json_schema

    typer.echo(json.dumps(json_schema(), indent=1, sort_keys=True))


@app.command(rich_help_panel="Workflow")
def manifest(
    stage: Annotated[str, typer.Option(help="the stage's files and folders as JSON")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the manifest to write")],
) -> None:
    """List a stage's files and remove from its folders what params.yaml no longer plans (Snakemake calls this).

    Example: `snakemake -c2 results/toy2d/manifests/samples.json`
    """
    from guidelab.provenance import write_manifest

    content = json.loads(stage)
    for removed in write_manifest(output, content["files"], content["outs"], content["keep"]):
        typer.echo(f"{output}: removed {removed}, no longer planned", err=True)


@app.command(rich_help_panel="Workflow")
def pipeline(params: Params = Path("params.yaml")) -> None:
    """Write the DVC pipeline files from params.yaml: dvc.yaml and one folder for each larger experiment.

    Example: `guidelab pipeline`
    """
    from guidelab.cli.runtime import write_text
    from guidelab.pipeline import pipelines
    from guidelab.specload import read_yaml

    for path, text in pipelines(_plan(params), read_yaml(params)).items():
        write_text(path, text)
        typer.echo(path)


def main() -> None:
    """Run a command; a mistake the user can mend is one message and exit status 1, without a traceback."""
    from guidelab.cli.runtime import EXIT_STOPPED, Stopped

    try:
        app(standalone_mode=False)
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
