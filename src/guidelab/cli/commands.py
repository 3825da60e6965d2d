"""Commands that check, show and export the plan of params.yaml."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab.errors import UserError
from guidelab.plan.rules import RULES

commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)

Params = Annotated[Path, typer.Option("--params", help="the parameters file")]


def load_plan(params: Path) -> Any:
    """The plan of a parameters file."""
    from guidelab.plan.plan import Plan
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
        planned = plan.experiment(name)
        points = len({run.point for run in planned.runs})
        typer.echo(
            f"{name} ({experiment.scale}): {len(experiment.denoisers)} nets, {len(experiment.variants)} variants, "
            f"{points} points, figures {', '.join(planned.figures) or 'none'}; table {planned.path('table')}"
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
    if rule not in RULES or len(rest) != len(RULES[rule].wildcards):
        wanted = RULES[rule].metavar if rule in RULES else f"one of {', '.join(RULES)}"
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
    output: Annotated[Path, typer.Option("--output", "-o", help="the manifest to write")],
    stage: Annotated[
        str, typer.Option(help="the stage's files and folders as JSON; - reads standard input")
    ] = "-",
) -> None:
    """List a stage's files and remove from its folders what params.yaml no longer plans (Snakemake calls this).

    Example: `snakemake -c2 results/toy2d/manifests/samples.json`
    """
    from guidelab.provenance import write_manifest

    def log(message: str) -> None:
        typer.echo(message, err=True)

    content = json.loads(sys.stdin.read() if stage == "-" else stage)
    for removed in write_manifest(output, content["files"], content["outs"], content["keep"], log=log):
        typer.echo(f"{output}: removed {removed}, no longer planned", err=True)


@commands.command(rich_help_panel="Workflow")
def pipeline(params: Params = Path("params.yaml")) -> None:
    """Write the DVC pipeline files from params.yaml: dvc.yaml and one folder for each larger experiment.

    Example: `guidelab pipeline`
    """
    from guidelab.cli.runtime import write_text
    from guidelab.plan.dvc import pipelines
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
    from guidelab.plan.dvc import stage_names

    for name in stage_names(load_plan(params), experiment):
        typer.echo(name)


@commands.command(rich_help_panel="Workflow")
def shipped(params: Params = Path("params.yaml")) -> None:
    """List what comes with the project: nets, measurements and references of the default experiments (docs/sharing.md).

    Example: `dvc pull -r shipped $(guidelab shipped)`
    """
    from guidelab.plan.dvc import shipped as paths

    for path in paths(load_plan(params)):
        typer.echo(path)
