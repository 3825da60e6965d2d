"""Commands for pretrained files: import one, list what is present, bundle them for a cluster."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab.cli.importing import import_file
from guidelab.errors import UserError, closest
from guidelab.project import resource
from guidelab.released import CSV, Row, folder_of, how_to_get, load_rows, row, size_of

__all__ = ["Status", "import_file", "list_released", "needed", "released_commands"]

released_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)

Folder = Annotated[
    str | None,
    typer.Option("--folder", help="where published files lie (else GUIDELAB_CHECKPOINTS, else checkpoints/)"),
]
ParamsFile = Annotated[Path, typer.Option("--params", help="the parameters file")]


@dataclasses.dataclass(frozen=True)
class Status:
    """The local state of one pretrained file.

    Attributes:
        row: of checkpoints.csv.
        there: whether the file is in the folder.
        sha256: as pinned when it was first used; empty before.
    """

    row: Row
    there: bool
    sha256: str


def list_released(names: Iterable[str], folder: str | None = None) -> list[Status]:
    """The local state of the named rows; of all rows when none is named.

    Raises:
        UserError: a name that is not in checkpoints.csv.
    """
    from guidelab.checkpoints.store import pins

    rows, place = load_rows(resource(CSV)), folder_of(folder)
    pinned = pins(place)
    chosen = [row(name, rows, "guidelab released") for name in names] or list(rows.values())
    return [
        Status(r, (place / r.file).exists(), str(pinned.get(r.file, {}).get("sha256", ""))) for r in chosen
    ]


def needed(names: list[str], params: Path) -> list[str]:
    """Rows of checkpoints.csv: of each experiment that is named, or the name itself.

    Raises:
        UserError: a name that is neither an experiment on released files nor a row; says why an experiment has none.
    """
    from guidelab.cli.commands import load_plan

    rows, found = load_rows(resource(CSV)), []
    plan = load_plan(params) if any(name not in rows for name in names) else None
    for name in names:
        if plan is not None and name in plan.spec.experiments:
            found += _of_experiment(plan, name)
        else:
            known = [*rows, *(plan.spec.experiments if plan else ())]
            if name not in rows:
                raise UserError(f"{name}: is no experiment and no name in {CSV}{closest(name, known)}")
            found.append(name)
    return list(dict.fromkeys(found))


def _of_experiment(plan: Any, name: str) -> list[str]:
    """The rows an experiment reads.

    Raises:
        UserError: it reads none, or uses synthetic ones.
    """
    from guidelab.plan.build.expected import needed

    spec, rows = plan.spec.experiments[name], needed(plan.experiment(name))
    if spec.scale == "smoke":
        of = spec.paper.published_experiment
        hint = f". For those of {of}: guidelab released {of}" if of != name else ""
        raise UserError(
            f"{name}: is of scale smoke, which uses synthetic files: nothing to fetch, nothing to bundle{hint}"
        )
    if not rows:
        raise UserError(f"{name}: uses no pretrained files")
    return rows


@released_commands.command("import", rich_help_panel="Released weights")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE_OR_NAME")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the safetensors file to write")
    ] = None,
    format: Annotated[str | None, typer.Option(help="how to read a file that is not in the list")] = None,
    extractor: Annotated[
        str | None, typer.Option(help="the classifier whose features a discriminator's head reads")
    ] = None,
    folder: Folder = None,
) -> None:
    """Convert a pretrained file to safetensors and JSON, without executing anything in it.

    Example: `guidelab import edm2-img512-s-2147483-0.130 -o s.safetensors`

    Example: `guidelab import ~/downloads/256x256_classifier.pt`

    Example: `guidelab import mine.pkl --format edm2_pickle`
    """
    target, about = import_file(file, output, format=format, extractor=extractor, folder=folder)
    what = about["config"].get("name", about["released"]["kind"])
    typer.echo(
        f"{target}: {what}, {about['parameters']:,} numbers, sha256 {about['released']['sha256'][:12]}..., "
        f"licence {about['released']['licence'] or 'not known'}"
    )


@released_commands.command("ema", rich_help_panel="Released weights")
def ema(
    snapshots: Annotated[Path, typer.Argument(metavar="SNAPSHOTS")],
    std: Annotated[str, typer.Option(help="averaging lengths wanted, relative to training, with commas")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to write to")] = Path(),
    kimg: Annotated[
        int | None, typer.Option(help="training length, thousands of images; else the longest")
    ] = None,
) -> None:
    """Reconstruct averages of any length from a folder of EDM2's snapshots (post-hoc EMA).

    Example: `guidelab ema raw-snapshots/edm2-img512-xs --std 0.05,0.1 -o averages`
    """
    from guidelab.cli.snapshots import reconstruct_folder

    try:
        stds = [float(part) for part in std.split(",")]
    except ValueError as error:
        raise UserError(f"--std: given {std!r}, wanted numbers with commas, such as 0.05,0.1") from error
    for target, largest in reconstruct_folder(snapshots, stds, output, kimg):
        typer.echo(f"{target}: largest coefficient {largest:.3g}")


@released_commands.command("released", rich_help_panel="Released weights")
def released(
    names: Annotated[list[str] | None, typer.Argument(metavar="[EXPERIMENT or NAME]...")] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="only what must still be fetched, with how")
    ] = False,
    folder: Folder = None,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """List the pretrained files an experiment needs: which are present, and where to get the missing ones.

    Example: `guidelab released imagenet256`

    Example: `guidelab released --absent imagenet256`
    """
    rows_needed = needed(names or [], params)
    found = list_released(rows_needed, folder) if rows_needed or not names else []
    place = folder_of(folder)
    for status in found:
        if absent and not status.there:
            typer.echo(f"{status.row.name}: {how_to_get(status.row, place)}")
        elif not absent:
            state = f"there, sha256 {status.sha256[:12]}..." if status.sha256 else "present, not used yet"
            size = size_of(status.row) or "size not known"
            typer.echo(
                f"{status.row.name:36} {size:>15}  {state if status.there else 'absent: ' + status.row.url}"
            )
    there = sum(status.there for status in found)
    lacking = sum(status.row.about_mb or 0 for status in found if not status.there)
    rest = f"; the others are about {lacking / 1e3:.1f} GB" if lacking else ""
    typer.echo(f"{place.absolute()}: {there} of {len(found)} files are there{rest}", err=absent)


@released_commands.command("bundle", rich_help_panel="Released weights")
def bundle(
    names: Annotated[list[str], typer.Argument(metavar="EXPERIMENT or NAME...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the bundle, a tar file")],
    folder: Folder = None,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Pack the pretrained files of experiments into one file, for a cluster without internet.

    Example: `guidelab bundle imagenet256 -o imagenet256.tar`
    """
    from guidelab.cli.bundle import pack

    rows, chosen = load_rows(resource(CSV)), needed(names, params)
    found = pack([rows[name] for name in chosen], output, " ".join(names), folder)
    typer.echo(f"{output}: {len(found)} files; on the other side: guidelab unbundle {output.name}")


@released_commands.command("unbundle", rich_help_panel="Released weights")
def unbundle(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    folder: Folder = None,
) -> None:
    """Check a bundle and put its files where published files are looked for; nothing is overwritten.

    Example: `guidelab unbundle imagenet256.tar`
    """
    from guidelab.cli.bundle import unpack

    found = unpack(bundle, folder)
    typer.echo(f"{folder_of(folder).absolute()}: {len(found)} files put there, all as packed")
