"""`guidelab study`: write the parameters of an experiment on the user's two nets and a folder of images."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from guidelab.cli.evaluate import PANEL
from guidelab.errors import UserError
from guidelab.project import root

study_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@study_commands.command(rich_help_panel=PANEL)
def study(
    name: Annotated[str, typer.Argument(help="of the experiment: letters, digits and _")],
    net: Annotated[Path, typer.Option(help="the main net: a pickle of EDM or EDM2, a .pt of ADM or DiT, a .safetensors that guidelab trained")],
    reference: Annotated[Path, typer.Option(help="real images: a folder or ZIP")],
    guide: Annotated[Path | None, typer.Option(help="the weak net that guides")] = None,
    w: Annotated[str | None, typer.Option(help="guidance weights: 1.5,2,3")] = None,
    interval: Annotated[str | None, typer.Option(help="noise levels of the variant `interval`: LOW,HIGH")] = None,
    images: Annotated[int | None, typer.Option(help="samples in each of three blocks; 5,000 by default", min=4)] = None,
    class_: Annotated[int | None, typer.Option("--class", help="one class of all samples")] = None,
    s_churn: Annotated[float | None, typer.Option("--S_churn", "--s-churn", help="EDM's stochastic sampler")] = None,
    features: Annotated[str, typer.Option(help="lite0, inception=FILE, dinov2=FILE, plugins.FILE:NAME")] = "lite0",
    autoencoder: Annotated[str | None, typer.Option(help="for nets on latents: its row in checkpoints.csv")] = None,
    factor: Annotated[int, typer.Option(help="pixels to a side of a latent", min=1)] = 8,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the file; NAME.yaml by default")] = None,
) -> None:  # fmt: skip
    """Write the parameters of a study of your own nets, and print the command that makes its table.

    Architecture, resolution and classes are read from the files; nothing in them is run. The study sweeps weights, also in
    an interval of noise levels, chooses one on a separate block of seeds, and reports errors from two others.

    Example: `guidelab study mine --net main.pkl --guide weak.pkl --reference pictures`

    Example: `guidelab study mine --net main.pkl --guide weak.pkl --reference pictures.zip --w 1.5,2 --images 50000`
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,79}", name):
        raise UserError(f"{name[:80]!r}: wanted a name of letters, digits and _, such as mine")
    target = output or Path(f"{name}.yaml")
    if target.exists():
        raise UserError(f"{target}: is there already; give another name, or --output")
    from guidelab.cli.generate import interval_of, numbers
    from guidelab.data.loose import LooseImages
    from guidelab.study import drawing, entry
    from guidelab.study.nets import check_together, read_net
    from guidelab.study.spaces import space_of

    if guide is None and (w or interval):
        raise UserError("--w, --interval: given without --guide; wanted the weak net that guides")
    main, weak = read_net(net), read_net(guide) if guide else None
    check_together(main, [weak] if weak else [])
    real = LooseImages(reference)
    wanted = entry.Wanted(
        nets=drawing.Nets(main, weak), reference=reference.absolute(), size=(real.shape[1], real.shape[2]),
        autoencoder=autoencoder, factor=factor, weights=numbers(w, "--w") if w else None,
        interval=interval_of(interval) if interval else None, images=images, class_=class_,
        churn={"S_churn": s_churn} if s_churn else None, features=None if features == "lite0" else space_of(features),
    )  # fmt: skip
    text = entry.text_of(name, entry.entry(wanted))
    lines = entry.write(target, text)
    typer.echo(f"{target}: {lines}; {len(real)} real images. Next:")
    typer.echo(_next(name, target, guide is not None))


def _next(name: str, target: Path, figure: bool) -> str:
    """The command that makes the table, its findings and its figure."""
    workflow = "" if Path("Snakefile").is_file() else f" -s {root() / 'Snakefile'}"
    wanted = [f"results/tables/{name}.csv", f"results/tables/{name}.story.md"]
    wanted += [f"results/figures/{name}/weights.pdf"] if figure else []
    return f"snakemake{workflow} -c{os.cpu_count() or 1} --config params={target} -- {' '.join(wanted)}"


@study_commands.command(rich_help_panel="Workflow")
def init(
    folder: Annotated[Path, typer.Argument(help="a new or an empty folder")],
    experiment: Annotated[
        str, typer.Option("--from", help="the experiment to begin with, of guidelab's own")
    ] = "toy2d",
) -> None:
    """Make a folder of your own in which the workflow runs: params.yaml, a Snakefile that uses this workflow, dvc.yaml, profiles.

    Example: `guidelab init my_study`

    Example: `guidelab init my_study --from fashion`
    """
    from guidelab.study.folder import make

    for name in make(folder, experiment):
        typer.echo(f"{folder}/{name}")
    typer.echo(
        f"Next: cd {folder} && snakemake -c{os.cpu_count() or 1}        with DVC, once: git init && dvc init"
    )
