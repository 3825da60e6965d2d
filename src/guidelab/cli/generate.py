"""`guidelab generate --net`: draw images with nets in files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab.cli.run import execute, processes, sharing
from guidelab.errors import UserError

Few = list[str] | None


def generate(
    names: Annotated[Few, typer.Argument(metavar="[EXPERIMENT GUIDE]", help="a guide of params.yaml, without --net")] = None,
    net: Annotated[Path | None, typer.Option(help="the main net: a pickle of EDM or EDM2, a .pt of ADM or DiT, a .safetensors that guidelab trained")] = None,
    guide: Annotated[Path | None, typer.Option(help="the weak net that guides")] = None,
    w: Annotated[str, typer.Option(help="guidance weights; 1 is no guidance: 2, or 1,1.5,2")] = "1",
    seeds: Annotated[str, typer.Option(help="of the samples: 0-63, or 3,7,10-12")] = "0-63",
    class_: Annotated[int | None, typer.Option("--class", help="one class; otherwise each seed draws its own")] = None,
    interval: Annotated[str | None, typer.Option(help="noise levels at which the guide acts: LOW,HIGH")] = None,
    discriminator: Annotated[Path | None, typer.Option(help="a discriminator that guides too")] = None,
    extractor: Annotated[Path | None, typer.Option(help="the classifier whose features a pretrained discriminator uses")] = None,
    disc_w: Annotated[float, typer.Option(help="weight of the discriminator; 0 is none")] = 1.0,
    autoencoder: Annotated[str | None, typer.Option(help="for nets on latents: the autoencoder's folder")] = None,
    sampler: Annotated[str | None, typer.Option(help="heun, ddpm or ddim; by default as the net's authors sample it")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler")] = None,
    sigma_min: Annotated[float | None, typer.Option(help="the lowest noise level")] = None,
    sigma_max: Annotated[float | None, typer.Option(help="the highest noise level")] = None,
    rho: Annotated[float | None, typer.Option(help="exponent of the noise level spacing (EDM: 7)")] = None,
    dtype: Annotated[str | None, typer.Option(help="the sampler's arithmetic: float32 or float64")] = None,
    s_churn: Annotated[float | None, typer.Option("--S_churn", "--s-churn", help="EDM's stochastic sampler: total amount of fresh noise")] = None,
    s_min: Annotated[float | None, typer.Option("--S_min", "--s-min", help="stochastic sampler: lowest noise level with fresh noise")] = None,
    s_max: Annotated[float | None, typer.Option("--S_max", "--s-max", help="stochastic sampler: highest noise level with fresh noise")] = None,
    s_noise: Annotated[float | None, typer.Option("--S_noise", "--s-noise", help="stochastic sampler: standard deviation of the fresh noise")] = None,
    precision: Annotated[str, typer.Option(help="arithmetic of nets on a GPU: float32, bfloat16 or float16")] = "float32",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; by default a GPU if there is one")] = None,
    batch: Annotated[int, typer.Option(help="samples per batch", min=1)] = 64,
    train_seed: Annotated[int | None, typer.Option(help="training seed, for files with nets of several trainings")] = None,
    shards: Annotated[bool, typer.Option("--shards", help="safetensors shards instead of PNGs")] = False,
    subdirs: Annotated[bool, typer.Option("--subdirs", help="a folder for every 1,000 PNGs")] = False,
    sheet: Annotated[bool, typer.Option("--sheet/--no-sheet", help="a contact sheet next to the folder")] = True,
    job: Annotated[str | None, typer.Option("--job", help="a planned job as JSON; - reads standard input")] = None,
    output: Annotated[list[Path] | None, typer.Option("--output", "-o", help="a folder; with --job its files")] = None,
    params: Annotated[Path, typer.Option("--params", help="the parameters file, without --net")] = Path("params.yaml"),
    threads: Annotated[int, typer.Option(help="CPU threads for torch", min=1)] = 1,
) -> None:  # fmt: skip
    """Draw images with nets in files; or, with names of params.yaml, the generated side of a guiding discriminator.

    A sample depends on its seed alone: noise and class are those of EDM2's generator on a CPU. Files are read without
    executing anything in them. The same command again continues where it stopped; more seeds are added.

    Example: `guidelab generate --net main.pkl --guide weak.pkl --w 2 --seeds 0-63 -o out`

    Example: `guidelab generate --net main.pkl --guide weak.pkl --w 1,1.5,2,3 --interval 0.28,2.9 -o sweep`

    Example: `guidelab generate --net main.pkl --class 207 --S_churn 40 --steps 256 --seeds 3,7,10-12 -o out`

    Example: `guidelab generate toy2d guide`
    """
    if net is None:
        execute("generate", names or [], job, output or [], params, threads)
        return
    if names or job is not None or len(output or []) != 1:
        raise UserError("guidelab generate --net: wanted one --output folder, and neither names nor --job")
    from guidelab.cli.runtime import choose_device, limit_threads

    limit_threads(threads)
    choose_device(device)
    options: dict[str, Any] = {
        "name": sampler, "steps": steps, "sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho, "dtype": dtype,
        "S_churn": s_churn, "S_min": s_min, "S_max": s_max, "S_noise": s_noise,
    }  # fmt: skip
    from guidelab.compute.device import device as usable
    from guidelab.study import drawing
    from guidelab.study.generate import Request
    from guidelab.study.generate import generate as draw
    from guidelab.study.nets import read_discriminator, read_net
    from guidelab.study.seeds import parse_seeds

    usable()  # a device that is not there is refused before anything is read
    weights, acts, wanted = (
        numbers(w, "--w"),
        interval_of(interval) if interval else (0.0, None),
        parse_seeds(seeds),
    )
    if guide is None and (weights != [1.0] or interval):
        raise UserError(
            f"--w: given {w}{' and --interval' if interval else ''} without --guide; wanted the weak net that guides"
        )
    main = read_net(net)
    found = drawing.Nets(
        main,
        read_net(guide) if guide else None,
        read_discriminator(discriminator, extractor) if discriminator else None,
        autoencoder,
    )
    request = Request(
        nets=found, weights=weights, seeds=wanted, output=(output or [Path()])[0],
        sampler=drawing.sampler_of(main.config["name"], options), sampling={"precision": precision, "batch": batch},
        interval=acts, disc_w=disc_w, class_=class_, train_seed=train_seed, shards=shards, subdirs=subdirs, sheet=sheet,
    )  # fmt: skip
    count = processes()
    for folder in draw(request, sharing("sample", count, threads) if count > 1 else None):
        typer.echo(f"{folder}: {len(wanted)} samples")


def numbers(text: str, option: str) -> list[float]:
    """`1,1.5,2` as numbers from 0.

    Raises:
        UserError: anything else, or a number twice.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [-1.0]
    if not all(0 <= x < 1000 and round(x, 2) == x for x in found) or len(set(found)) != len(found):
        raise UserError(
            f"{option}: given {text[:80]!r}, wanted numbers from 0, of at most two decimals, such as 2 or 1,1.5,2"
        )
    return found


def interval_of(text: str) -> tuple[float, float]:
    """`0.28,2.9` as two noise levels.

    Raises:
        UserError: anything else.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high:
        raise UserError(f"--interval: given {text[:80]!r}, wanted LOW,HIGH, noise levels, such as 0.28,2.9")
    return low, high
