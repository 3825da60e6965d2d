"""Nets and samplers evaluated on what the figures of the 2D example draw."""

from typing import Any

import torch
from torch import Tensor

from guidelab.assemble import density, load_net, load_nets
from guidelab.io import load_arrays, wanted
from guidelab.sampling.codecs import Points
from guidelab.sampling.draw import drawing

ARROWS = 13  # a side
CANDIDATES = 4096  # samples among which those that end in the close-up are sought


def _grid(window: list[float], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions `[G]` of both axes and all points `[G * G, 2]`, y outer and x inner."""
    x, y = torch.linspace(window[0], window[1], side), torch.linspace(window[2], window[3], side)
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return x, y, torch.stack([xx.flatten(), yy.flatten()], dim=1)


def fig1(job: dict[str, Any]) -> dict[str, Tensor]:
    """Exact draws and each panel's samples with their exact log-densities, over the density of both classes."""
    f = job["settings"]
    data = density(job["dataset"])
    other = density({**job["dataset"], "classes": "B" if job["dataset"]["classes"] == "A" else "A"})
    x, y, points = _grid(f["window"], f["grid"])
    shape = (len(y), len(x))
    truth = data.draw(f["n"], torch.Generator().manual_seed(0))
    arrays = {"grid/x": x, "grid/y": y, "samples/truth": truth, "log_p/truth": data.log_density(truth)}
    arrays |= {
        "grid/log_p": data.log_density(points).view(shape),
        "grid/log_p_other": other.log_density(points).view(shape),
    }
    for point in job["runs"]:
        (path,) = job["inputs"][f"samples:{point}"]
        drawn = wanted(load_arrays(path)[0], f"seed{f['train_seed']}/{job['block']}/x", path, (None, 2))[
            : f["n"]
        ]
        arrays |= {f"samples/{point}": drawn, f"log_p/{point}": data.log_density(torch.nan_to_num(drawn))}
    return arrays


def fig2(job: dict[str, Any]) -> dict[str, Tensor]:
    """Densities of main and reference net in a close-up at one sigma, their ratio's gradient, and trajectories."""
    f = job["settings"]
    x, y, points = _grid(f["window"], f["grid"])
    shape = (len(y), len(x))
    guided = next(point for point in reversed(job["runs"]) if job["runs"][point]["terms"])
    spec = job["runs"][guided]
    inputs = job["inputs"]
    main = load_net(inputs[f"model:{spec['main']}"][0], f["train_seed"])
    ref = load_net(inputs[f"model:{spec['terms'][0]['ref']}"][0], f["train_seed"])
    log_p1, log_p0 = (_log_density(net, points, f["sigma"]) for net in (main, ref))
    _, _, starts = _grid(f["window"], ARROWS + 2)
    starts = starts.view(ARROWS + 2, ARROWS + 2, 2)[1:-1, 1:-1].reshape(-1, 2)  # none on the frame
    level = torch.full((len(starts),), f["sigma"])
    with torch.no_grad():
        gradient = (main.score(starts, level) - ref.score(starts, level)).T  # type: ignore[operator]
    data = density(job["dataset"])
    arrays = {"grid/x": x, "grid/y": y, "grid/log_p1": log_p1.view(shape), "grid/log_p0": log_p0.view(shape)}
    arrays |= {"grid/log_p": data.log_density(points).view(shape)}
    arrays |= {
        "arrow/x": starts[:, 0],
        "arrow/y": starts[:, 1],
        "arrow/u": gradient[0],
        "arrow/v": gradient[1],
    }
    tracks = {point: _tracks(spec, inputs, f["train_seed"], data) for point, spec in job["runs"].items()}
    end = next(iter(tracks.values()))[-1]
    w = f["window"]
    inside = (end[:, 0] > w[0]) & (end[:, 0] < w[1]) & (end[:, 1] > w[2]) & (end[:, 1] < w[3])
    chosen = inside.nonzero()[:, 0][: f["lines"]]
    return arrays | {f"track/{point}": track[:, chosen] for point, track in tracks.items()}


def _tracks(spec: dict[str, Any], inputs: dict[str, list[str]], train_seed: int, data: Any) -> Tensor:
    """Trajectories `[steps + 1, n, 2]` of the same seeds for every sampler; figures only, so no block is spent."""
    path: list[list[Tensor]] = []

    def remember(step: int, sigma: float, x: Tensor) -> None:
        if step == 0:
            path.append([])
        path[-1].append(x.clone())

    sampler = drawing(spec, load_nets(inputs, train_seed), torch.device("cpu"), Points(), data.start)
    sampler(1 << 30, (1 << 30) + CANDIDATES - 1, callback=remember)
    return torch.cat([torch.stack(batch) for batch in path], dim=1).to(torch.float32)


def fig9(job: dict[str, Any]) -> dict[str, Tensor]:
    """Learned log-densities of three nets over the whole window, at each sigma."""
    f = job["settings"]
    x, y, points = _grid(f["window"], f["grid"])
    arrays = {"grid/x": x, "grid/y": y}
    for key, name in (("main", "log_p1"), ("cfg", "log_p0_cfg"), ("autog", "log_p0_ag")):
        net = load_net(job["inputs"][f"model:{f[key]}"][0], f["train_seed"])
        for sigma in f["sigmas"]:
            arrays[f"{name}/{sigma:g}"] = _log_density(net, points, sigma).view(len(y), len(x))
    return arrays


def _log_density(net: Any, points: Tensor, sigma: float) -> Tensor:
    """A net's unnormalised log-density `[G * G]` at one sigma."""
    with torch.no_grad():
        value: Tensor = net.log_density(points, torch.full((len(points),), sigma))
    return value
