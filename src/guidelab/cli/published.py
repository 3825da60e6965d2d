"""`guidelab published`: list the published values that an experiment targets."""

from pathlib import Path
from typing import Annotated

import typer

from guidelab.project import resource

published_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)

RESOURCE = "workflow/resources/published.csv"


@published_commands.command(rich_help_panel="Parameters")
def published(
    experiment: str,
    listed: Annotated[Path | None, typer.Option("--published", help="the published values")] = None,
) -> None:
    """List the published values that an experiment targets, with their protocols; nothing is run.

    Example: `guidelab published imagenet256`
    """
    from guidelab.jobs.table import published_values
    from guidelab.paper.published import not_run_table
    from guidelab.paper.published_sheet import document

    typer.echo(document(not_run_table(published_values(listed or resource(RESOURCE)), experiment)), nl=False)
