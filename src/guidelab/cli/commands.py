"""The commands about parameters and the workflow, and the table of jobs that all commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab.errors import UserError

commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)

Params = Annotated[Path, typer.Option("--params", help="the parameters file")]

# rule -> (module under cli/, the names it takes, one line, examples)
JOBS: dict[str, tuple[str, str, str, list[str]]] = {
    "prepare": ("prepare", "EXPERIMENT FOLD", "Draw or read one fold of real data.", ["toy2d reference"]),
    "synthesize": ("synthesize", "EXPERIMENT", "Make up pictures and checkpoints for a smoke experiment.", ["imagenet256_smoke"]),
    "obtain": ("obtain", "EXPERIMENT KIND NAME", "Bring a released file into our form, after checking it.", ["imagenet512 models main", "imagenet256 references adm"]),
    "encode": ("encode", "EXPERIMENT SIDE", "Encode a fold or a guide's samples with the autoencoder.", ["imagenet256 data/holdout"]),
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
    "grading": ("sample", "EXPERIMENT GRADER VARIANT WEIGHT PART", "Draw the images a grader is trained on.", ["fashion grade cfg w2.00 seed0"]),
    "null": ("null", "EXPERIMENT", "Train a grader to tell real from real, as it should not be able to.", ["toy2d"]),
    "diverge": ("diverge", "EXPERIMENT VARIANT WEIGHT PART", "Divergences of one point along sigma, held out, beside their truths.", ["toy2d autog w3.00 seeds0-4"]),
    "diverge_null": ("diverge", "EXPERIMENT", "The same for real against real.", ["toy2d"]),
    "divergences": ("divergences", "EXPERIMENT", "All rows about divergences, and their table.", ["toy2d"]),
    "evaluations": ("evaluations", "EXPERIMENT", "What training scores and discriminators took, in evaluations.", ["toy2d", "fashion"]),
    "theorem": ("theorem", "EXPERIMENT", "The theorem of discriminator guidance, exactly, for two samplers.", ["toy2d"]),
    "field": ("field", "EXPERIMENT FIGURE", "Evaluate nets on what a figure draws.", ["toy2d fig9"]),
    "table": ("table", "EXPERIMENT", "The experiment's table: CSV, Markdown, LaTeX.", ["toy2d"]),
    "figure": ("figure", "EXPERIMENT FIGURE", "One figure: PDF, PNG and the rows it plots.", ["toy2d sweep"]),
    "preview": ("preview", "EXPERIMENT VARIANT WEIGHT PART", "A few samples of one point as a picture.", ["fashion cfg w2.00 seed0"]),
    "story": ("story", "EXPERIMENT", "What the numbers say, beside what the paper's pictures suggest.", ["toy2d"]),
}  # fmt: skip


def load_plan(params: Path) -> Any:
    """The plan of a parameters file."""
    from guidelab.plan import Plan
    from guidelab.spec.load import load_spec

    return Plan(load_spec(params))


@commands.command(rich_help_panel="Parameters")
def check(params: Params = Path("params.yaml")) -> None:
    """Check params.yaml and say what it plans, one line an experiment.

    Example: `guidelab check`
    """
    from guidelab.spec.load import remarks

    plan = load_plan(params)
    for name, experiment in plan.spec.experiments.items():
        layout = plan.experiment(name)
        points = len({run.point for run in layout.runs})
        typer.echo(
            f"{name} ({experiment.scale}): {len(experiment.denoisers)} nets, {len(experiment.variants)} variants, "
            f"{points} points, figures {', '.join(layout.figures) or 'none'}; table {layout.table[0]}"
        )
    for remark in remarks(plan.spec):
        typer.echo(f"{params}: {remark}", err=True)


@commands.command(rich_help_panel="Parameters")
def show(experiment: str, params: Params = Path("params.yaml")) -> None:
    """List every point of an experiment with its method, weight and training seeds.

    Example: `guidelab show toy2d`
    """
    plan = load_plan(params).experiment(experiment)
    for run in plan.runs:
        variant = plan.spec.variants[run.variant]
        terms = ", ".join(f"{t.method}({t.ref or t.disc or ''})" for t in variant.guide) or "no guidance"
        typer.echo(f"{run.point:24} {run.part:10} main={variant.main}  {terms}")


@commands.command(rich_help_panel="Parameters")
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
    plan = load_plan(params)
    found = plan.job(rule, *rest)
    typer.echo(json.dumps({"outputs": found.outputs, "job": json.loads(plan.payload(rule, *rest))}, indent=1))


@commands.command(rich_help_panel="Parameters")
def schema() -> None:
    """Print the JSON Schema of params.yaml (kept in workflow/schemas/, for editors).

    Example: `guidelab schema > workflow/schemas/params.schema.json`
    """
    from guidelab.spec.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1, sort_keys=True))


@commands.command(rich_help_panel="Workflow")
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


@commands.command(rich_help_panel="Workflow")
def pipeline(params: Params = Path("params.yaml")) -> None:
    """Write the DVC pipeline files from params.yaml: dvc.yaml and one folder for each larger experiment.

    Example: `guidelab pipeline`
    """
    from guidelab.cli.runtime import write_text
    from guidelab.pipeline import pipelines
    from guidelab.spec.reading import read_yaml

    for path, text in pipelines(load_plan(params), read_yaml(params)).items():
        write_text(path, text)
        typer.echo(path)


@commands.command(rich_help_panel="Workflow")
def stages(experiment: str, params: Params = Path("params.yaml")) -> None:
    """List what DVC calls the stages of an experiment, so that it alone can be pushed, pulled or reproduced.

    Example: `dvc push $(guidelab stages toy2d)`

    Example: `dvc pull $(guidelab stages toy2d_full)`
    """
    from guidelab.pipeline import stage_names

    for name in stage_names(load_plan(params), experiment):
        typer.echo(name)
