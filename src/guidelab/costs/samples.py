"""Work of the jobs about samples: sampling, log-densities, features, metrics."""

from typing import Any

from guidelab import registry
from guidelab.costs import configs, flops
from guidelab.costs.levels import evaluations
from guidelab.costs.work import FLOAT, Work, area, image_bytes, is_half, seeds_in, share
from guidelab.plan.job import Job
from guidelab.spec import Experiment

DECODE_512 = 2 * 1260.9e9  # FLOP of the autoencoder at 512 px: EDM2's tables, arXiv:2312.02696
_LABEL = 8  # bytes
_DECODING_512 = 2.0 * 2**30  # bytes an image takes in the autoencoder at 512 px in float32, see docs/gpu.md


def _blocks(job: Job) -> int:
    """Samples a job draws: every block, for every training seed."""
    blocks = job.spec["blocks"].values()
    n: int = len(job.spec["train_seeds"]) * sum(last - first + 1 for first, last in blocks)
    for grader in job.spec.get("grader_blocks", {}).values():
        first, last = grader["seeds"]
        n += len(grader["train_seeds"]) * (last - first + 1)
    return n


def sample(e: Experiment, job: Job) -> Work:
    """Every seed of a job: the main net at every evaluation, each guidance term where it is on, the decoder once."""
    n, spec = _blocks(job), job.spec
    if spec.get("real"):  # real images instead of samples
        return Work(n, disk_bytes=n * image_bytes(e))
    main = flops.count(configs.model_config(e, spec["main"]))
    found = {"main": evaluations(spec["sampler"])}
    one, precise, nets = found["main"] * main.forward, 0.0, {spec["main"]: main}
    for term in spec["terms"]:
        kind, name, times, net, flop = _term(e, term, spec["sampler"])
        if times:
            found[kind] = found.get(kind, 0) + times
            nets[name] = net
            one += times * flop
            precise += times * flop if kind == "gradient" else 0.0  # in float32 at any requested precision
    if spec.get("latent"):
        found["decoder"] = 1
        one += DECODE_512 * area(e)
    return Work(
        n,
        {kind: n * times for kind, times in found.items()},
        n * one,
        n * (precise if is_half(spec.get("precision")) else one),
        disk_bytes=n * (image_bytes(e) + (_LABEL if spec.get("labels") else 0)),
        memory=lambda: _held(e, spec, nets),
    )


def _held(e: Experiment, spec: dict[str, Any], nets: dict[str, flops.Count]) -> float:
    """Bytes of all nets of a sampler, and of the images that are in one of them or in the decoder."""
    live = max(net.live_bytes * (2 if name in e.discriminators else 1) for name, net in nets.items())
    weights = sum(net.parameters * FLOAT + net.held_bytes for net in nets.values())
    at_once = spec.get("batch", 1) * live
    if spec.get("latent"):
        at_once = max(at_once, spec["decode_batch"] * _DECODING_512 * area(e))
    return share(spec.get("precision")) * float(weights + at_once)


def _term(
    e: Experiment, term: dict[str, Any], sampler: dict[str, Any]
) -> tuple[str, str, int, flops.Count, float]:
    """What a guidance term evaluates, whose net it is, how often in a sample, and the FLOP of each time."""
    entry = registry.METHODS[term["method"]]
    first = term["stages"] == "first" or bool(term.get("boost"))
    times = evaluations(sampler, term["sigma_lo"], term["sigma_hi"], first)
    if entry.needs == "disc":
        net = flops.count(configs.disc_config(e, term["disc"]))
        return "gradient", term["disc"], times if term["weight"] != entry.neutral else 0, net, net.gradient
    net = flops.count(configs.model_config(e, term["ref"] or next(iter(e.models))))
    active = entry.needs == "ref" and term["weight"] != entry.neutral
    return "reference", term["ref"] or "", times if active else 0, net, net.forward


def density(e: Experiment, job: Job) -> Work:
    """Two sides of every block, each step twice, with a Jacobian of as many rows as a point has coordinates."""
    how, sampler = job.spec["density"], job.spec["sampler"]
    runs = len(job.spec["train_seeds"]) * len(job.spec["blocks"])
    n = 2 * how["n"] * runs
    nets = [flops.count(configs.model_config(e, job.spec["main"]))]
    nets += [_term(e, t, sampler)[3] for t in job.spec["terms"] if registry.METHODS[t["method"]].needs]
    rows, _ = configs.pixels(e)
    times = 2 * (how["steps"] - 1)
    one = sum(net.forward + rows * (net.gradient - net.forward) for net in nets)
    return Work(n, {"with Jacobian": n * times * len(nets)}, n * times * one, disk_bytes=n * 16)


def _images_of(e: Experiment, of: str) -> int:
    """Images of a fold (`data/reference`) or of a run (`cfg/w2.00/seeds0-4`)."""
    if of.startswith("data/"):
        return configs.fold_size(e, of.partition("/")[2])
    return seeds_in(of.rsplit("/", 1)[1]) * sum(
        last - first + 1 for first, last in e.evaluate.blocks.values()
    )


def extract(e: Experiment, job: Job) -> Work:
    """Features of every image of a fold or run."""
    of = job.outputs[0].split(f"/features/{job.spec['features']}/")[1].removesuffix(".safetensors")
    n = _images_of(e, of)
    name = e.features[job.spec["features"]].name or ""
    if name == "trained":
        net = flops.count(configs.disc_config(e, e.features[job.spec["features"]].disc or ""))
        flop, numbers = net.forward, 64 + _classes(e)
    else:
        flop, side, features, stored = configs.known_extractor(name)
        size = e.features[job.spec["features"]].size_px
        flop, numbers = flop * ((size / side) ** 2 if side and size else 1.0), features + stored
    return Work(n, {"extractor": n}, n * flop, n * flop, disk_bytes=n * numbers * FLOAT)


def measure(e: Experiment, job: Job) -> Work:
    """Covariances, their square root, and all distances where precision, recall or KID are requested."""
    sizes = [last - first + 1 for first, last in e.evaluate.blocks.values()]
    one = 0.0
    for space, entry in e.features.items():
        of = e.features[entry.of] if entry.of else entry
        numbers = 64 if of.name == "trained" else configs.known_extractor(of.name or "")[2]
        wanted = {m.partition("@")[0] for m in e.evaluate.metrics if m.partition("@")[2] in ("", space)}
        reference = configs.fold_size(e, entry.reference)
        frechet, distances = bool(wanted & {"fid", "sfid"}), bool(wanted & {"precision", "recall", "kid"})
        sides = [*sizes, reference]  # the reference's own covariance and distances are computed once
        one += 2 * sum(sides) * numbers**2 * frechet + 20 * len(sizes) * numbers**3 * frechet
        pairs = sum(n * n for n in sides) + reference * sum(sizes)
        one += 2 * numbers * pairs * distances
    return Work(flop=len(job.spec["of"]["train_seeds"]) * one)


def _classes(e: Experiment) -> int:
    return int(getattr(e.dataset, "classes", 0))
