"""`guidelab evaluate` and `guidelab statistics`: metrics and reference statistics of images in any folder or ZIP."""

from pathlib import Path
from typing import Annotated

import typer

from guidelab.errors import UserError, closest

evaluate_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)

PANEL = "Your own files"
Features = Annotated[
    str,
    typer.Option(
        help="lite0 (weights come with guidelab), inception=FILE, dinov2=FILE, or plugins.FILE:NAME"
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; by default a GPU if there is one")]
Threads = Annotated[int, typer.Option(help="CPU threads for torch", min=1)]


def _known(option: str, given: list[str], known: tuple[str, ...]) -> None:
    for one in given:
        if one not in known:
            raise UserError(f"--{option}: given {one[:80]!r}, wanted {', '.join(known)}{closest(one, known)}")


@evaluate_commands.command(rich_help_panel=PANEL)
def evaluate(
    images: Annotated[Path, typer.Argument(help="a folder or ZIP; or the folder of a sweep over weights")],
    reference: Annotated[
        Path, typer.Option(help="real images: a folder or ZIP; or statistics: .npz, or EDM2's .pkl")
    ],
    features: Features = "lite0",
    metrics: Annotated[
        str, typer.Option(help="some of fid, kid, precision, recall")
    ] = "fid,kid,precision,recall",
    neighbours: Annotated[int, typer.Option(help="of precision and recall", min=1)] = 3,
    counts: Annotated[
        str, typer.Option(help="real images in kid, precision, recall: all, or equal to the generated ones")
    ] = "all",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the numbers as a CSV too")] = None,
    device: Device = None,
    threads: Threads = 1,
) -> None:
    """Measure images against real ones: FID, KID, precision and recall, each with its standard error.

    Published FIDs are of Inception's features: give its weights. Numbers of other features compare with one another only.

    Example: `guidelab evaluate out --reference pictures`

    Example: `guidelab evaluate sweep --reference ref.npz --features inception=weights-inception-2015-12-05-6726825d.pth -o fid.csv`
    """
    from guidelab.cli.runtime import choose_device, limit_threads

    limit_threads(threads)
    choose_device(device)
    from guidelab.metrics.images import COUNTS
    from guidelab.study.measured import METRICS

    names = metrics.split(",")
    _known("metrics", names, METRICS)
    _known("counts", [counts], COUNTS)
    for path in (images, reference):
        if not path.exists():
            raise UserError(
                f"{path}: is not there; wanted a folder or ZIP of images{'' if path is images else ', or statistics'}"
            )
    _measure(images, reference, features, names, (counts, neighbours), output)


def _measure(
    images: Path, reference: Path, features: str, names: list[str], how: tuple[str, int], output: Path | None
) -> None:
    import pandas as pd

    from guidelab.io import write_csv
    from guidelab.study import measured

    name, extractor = measured.extractor_of(features)
    real = measured.reference_of(reference, name, extractor)
    if real.features is None and set(names) & set(measured.NEEDS_IMAGES):
        typer.echo(
            f"{reference}: holds no single images, so {', '.join(measured.NEEDS_IMAGES)} are left out",
            err=True,
        )
    tables = []
    for path in measured.points(images):
        found = measured.features_of(path, extractor)
        numbers = measured.measured(found, real, names, counts=how[0], neighbours=how[1])
        tables.append(measured.rows_of(found, numbers, reference, name, extractor.sha256))
        for number in numbers:
            value = number.value
            note = f"  ({value.note})" if value.note else ""
            typer.echo(f"{path}  {number.metric}@{name} = {value.value:.4g} +- {value.std_error:.2g}{note}")
    if output is not None:
        write_csv(output, pd.concat(tables))


@evaluate_commands.command(rich_help_panel=PANEL)
def statistics(
    images: Annotated[Path, typer.Argument(help="a folder or ZIP of images")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the .npz to write")],
    features: Features = "lite0",
    device: Device = None,
    threads: Threads = 1,
) -> None:
    """Write mean and covariance of features (`mu`, `sigma`, as in EDM and ADM), and the features themselves.

    Example: `guidelab statistics pictures.zip -o ref.npz`
    """
    from guidelab.cli.runtime import choose_device, limit_threads

    limit_threads(threads)
    choose_device(device)
    if output.suffix != ".npz":
        raise UserError(f"--output: given {output}, wanted a file .npz")
    if not images.exists():
        raise UserError(f"{images}: is not there; wanted a folder or ZIP of images")
    from guidelab.study import measured

    name, extractor = measured.extractor_of(features)
    found = measured.features_of(images, extractor)
    measured.write_statistics(found, name, extractor.sha256, output)
    typer.echo(f"{output}: {name} of {len(found.features)} images")
