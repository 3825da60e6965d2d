"""Work of the jobs about data and weights: reading, encoding, training, EMA reconstruction, conversion."""

from typing import Any

from guidelab.costs import configs, flops
from guidelab.costs.work import FLOAT, Work, area, image_bytes, is_half, share
from guidelab.plan.job import Job
from guidelab.spec import Experiment

ENCODE_512 = 2 * 558.3e9  # FLOP of the autoencoder at 512 px, counted; tests compare
_VALIDATION_NOISES = 4  # noise levels at which each held-out image is evaluated


def prepare(e: Experiment, job: Job) -> Work:
    """A fold of real data, as it lies in its file."""
    n = configs.fold_size(e, job.spec["fold"])
    return Work(n, disk_bytes=n * image_bytes(e))


def encode(e: Experiment, job: Job) -> Work:
    """Mean and std of the latents of a fold, or of a guide's samples."""
    source = job.inputs["images"][0].rsplit("/", 1)[1].partition(".")[0]
    if source in e.discriminators and "block" in job.spec:
        first, last = e.discriminators[source].drawn.seeds
        n = last - first + 1
    else:
        n = configs.fold_size(e, source)
    latent = job.spec["latent"]
    numbers = 2 * latent["channels"] * latent["side_px"] ** 2
    flop = n * ENCODE_512 * area(e)
    return Work(n, {"encoder": n}, flop, flop, disk_bytes=n * numbers * FLOAT)


def train(e: Experiment, job: Job) -> Work:
    """A denoiser: `nimg` examples for every training seed; snapshots of every average."""
    how, seeds = job.spec["train"], len(job.spec["seeds"])
    net = flops.count(configs.denoiser_config(e, job.outputs[0].split("/")[-2]))
    n = how["nimg"] * seeds
    snapshots = how["nimg"] // how["snapshot_nimg"] * len(how["ema_stds"]) * seeds
    numbers = 4 + len(how["ema_stds"])  # weights, gradients, two of Adam, averages
    at_once = how.get("microbatch") or how["batch"]
    half = share(how.get("precision"))
    return Work(
        n,
        {"training": n},
        n * net.training,
        0.0 if is_half(how.get("precision")) else n * net.training,
        disk_bytes=snapshots * net.parameters * FLOAT,
        memory=lambda: numbers * net.parameters * FLOAT + at_once * net.kept_bytes * half,
    )


def reconstruct(e: Experiment, job: Job) -> Work:
    """A model's weights, once for every training seed."""
    model = job.spec["model"]
    seeds = len(e.denoisers[e.models[model].denoiser].seeds)
    return Work(disk_bytes=seeds * flops.count(configs.model_config(e, model)).parameters * FLOAT)


def convert(e: Experiment, job: Job) -> Work:
    """A released net's weights in float32; of anything else, the released file's size."""
    kind, name = job.outputs[0].split("/")[-2:]
    name = name.partition(".")[0]
    made = {"models": configs.model_config, "discriminators": configs.disc_config}.get(kind)
    size = flops.count(made(e, name)).parameters * FLOAT if made else job.spec["checkpoint"]["bytes"]
    return Work(disk_bytes=max(len(job.spec["seeds"]), 1) * float(size or 0))


def discriminate(e: Experiment, job: Job) -> Work:
    """A discriminator or classifier: all its iterations, and the held-out images at every evaluation."""
    d = e.discriminators[job.spec["disc"]]
    generated = d.generated.seeds[1] - d.generated.seeds[0] + 1 if d.generated else 0
    examples = configs.fold_size(e, d.real) + generated
    return learning(e, job.spec["disc"], job.spec["train"], len(job.spec["train_seeds"]), examples)


def learning(e: Experiment, disc: str, how: dict[str, Any], seeds: int, examples: int) -> Work:
    """What training a discriminator takes.

    Args:
        e: the experiment. disc: whose net it is.
        how: its training. seeds: how often it is trained. examples: of both sides together.
    """
    d, net = e.discriminators[disc], flops.count(configs.disc_config(e, disc))
    draws = how.get("cached_draws") or 0
    shown = how["iterations"] * how["batch"]
    rounds = how["iterations"] // how["evaluate_every"]
    held = _VALIDATION_NOISES if e.images and d.role == "guide" else 1
    judged = round(examples * held * (rounds * how["validation"] + how["test"]))
    seen_frozen = draws * examples if draws else shown  # by a frozen extractor: once where features are kept
    looked_at = round(examples * held * (how["validation"] + how["test"]))
    one = (
        shown * (net.training - net.frozen)
        + seen_frozen * net.frozen
        + judged * (net.forward - net.frozen)
        + looked_at * net.frozen
    )
    half = share(how.get("precision"))
    return Work(
        seeds * shown,
        {"training": seeds * shown, "judging": seeds * judged},
        seeds * one,
        0.0 if is_half(how.get("precision")) else seeds * one,
        disk_bytes=seeds * net.parameters * FLOAT,
        memory=lambda: (net.parameters + 3 * net.trained) * FLOAT + how["batch"] * net.kept_bytes * half,
    )
