"""`guidelab discriminate`, `grade` and `null`: a discriminator for each training seed of the sampler, or one classifier.

A guide learns to distinguish samples of its sampler from real data, a grader does the same with separate data, and a null is a
discriminator whose two sides are both real: any difference it detects is its error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from guidelab.compute.device import device
from guidelab.compute.precision import settle
from guidelab.compute.processes import process_group
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.nets.build import build
from guidelab.registry import NETS, SIDES
from guidelab.sampling import progress
from guidelab.train.classifiers import train_classifier
from guidelab.train.discriminators import train_discriminator
from guidelab.train.draws import Draws, InSequence, Streams
from guidelab.train.precision import Precision
from guidelab.train.sides import Side
from guidelab.train.state import drop_state, state_folder

NULL_SEED = 500  # apart from the seeds of the graders of samplers, which count from 0
_CLASSIFIERS = ("classifier", "features")
_EXTRACTORS = ("adm_classifier", "small_classifier")
_KEPT_VALUES = 1 << 29  # 2 GiB: networks larger than this together are not kept at every evaluation


class Data(Protocol):
    """What nets of one kind of data are trained on.

    Attributes:
        small: nets are small: each side passes them by itself, and random numbers come in sequence.
        classes: how many the net is conditional on; 0 for none.
    """

    small: bool
    classes: int

    def net_config(self, classes: int) -> dict[str, Any]:
        """Constructor arguments, with the network's name."""
        ...

    def sides(self, seed: int, own: int) -> tuple[Side, Side]:
        """Both sides of a training seed; `own` seeds what is drawn here."""
        ...

    def labelled(self) -> Side:
        """The examples of a classifier."""
        ...

    def reported(self, report: Mapping[str, float]) -> dict[str, float]:
        """What is kept of a report."""
        ...


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train what the job's role names; save the nets and each one's held-out report.

    Raises:
        UserError: files that do not fit the job or each other, or several processes: this job has one.
    """
    trained = _classifier if job.get("role") in _CLASSIFIERS else _discriminators
    tensors, about = trained(job)
    about |= {key: job[key] for key in ("role", "code") if key in job}
    save_arrays(outputs[0], tensors, about | {"kind": "discriminator", "seeds": job["train_seeds"]})
    drop_state(state_folder(job))


def _precision(job: Mapping[str, Any]) -> Precision:
    """Where and how the job's nets are evaluated.

    Raises:
        UserError: several processes: one trains.
    """
    if process_group().size > 1:
        raise UserError(f"{job['disc']}: is trained by one process; start it without torchrun")
    where = device()
    settle(where)
    return Precision(where, job["train"].get("precision") or "float32")


def _data(job: Mapping[str, Any]) -> Data:
    made: Data = SIDES.load(job["examples"])(job)
    return made


def _classifier(job: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    precision, data = _precision(job), _data(job)
    config = data.net_config(job["classes"])
    net = _built(config, Streams(job["train"]["seed"]))
    state, report, history = train_classifier(
        job["train"], net, data.labelled(), state_folder(job), precision
    )
    (seed,) = job["train_seeds"]
    about = {"net": config, "reports": {str(seed): report}, "history": {str(seed): history}}
    tensors = {f"seed{seed}/{name}": value for name, value in state.items()}
    return tensors, about | {"iterations": [row[0] for row in history]}


def _discriminators(job: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """One net for each training seed; guides and graders of images keep the snapshots and the course of the training."""
    precision, data = _precision(job), _data(job)
    null = "generated" not in job["inputs"]
    config = data.net_config(data.classes)
    extractor: dict[str, Tensor] = {}
    if job["inputs"].get("extractor"):
        config["extractor"], extractor = _extractor(job["inputs"]["extractor"][0])
    tensors: dict[str, Tensor] = {}
    reports, history, iterations = {}, {}, set()
    for seed in progress(job["train_seeds"], job["disc"]):
        own = 1000 * job["train"]["seed"] + (NULL_SEED if null else seed)
        real, generated = data.sides(seed, own)
        draws: Draws = InSequence(own, (len(real), len(generated))) if data.small else Streams(own)
        net = _built(config, draws)
        if extractor:
            net.extractor.load_state_dict(extractor)  # type: ignore[operator, union-attr]
        folder = state_folder(job) / f"seed{seed}"
        state, report, outcome = train_discriminator(
            job["train"], net, real, generated, draws, folder, precision, apart=data.small
        )
        tensors |= {f"seed{seed}/{name}": value for name, value in state.items()}
        reports[str(seed)], history[str(seed)] = data.reported(report), outcome.history
        if null or data.small:
            continue
        for iteration, snapshot in _worth_keeping(outcome.snapshots, state, len(job["train_seeds"])).items():
            kept = {name.removeprefix("param/"): value for name, value in snapshot.items()}
            # complete, frozen parts too: each can be loaded by itself
            tensors |= {f"it{iteration}/seed{seed}/{n}": v for n, v in {**state, **kept}.items()}
            iterations.add(iteration)
    about: dict[str, Any] = {"net": config, "reports": reports}
    course = {} if null or data.small else {"iterations": sorted(iterations), "history": history}
    return tensors, about | course


def _worth_keeping(
    snapshots: Mapping[int, Any], state: Mapping[str, Tensor], seeds: int
) -> Mapping[int, Any]:
    """All snapshots of small networks, none of large ones: each would hold the frozen extractor again."""
    values = sum(value.numel() for value in state.values())
    return snapshots if values * len(snapshots) * seeds <= _KEPT_VALUES else {}


def _extractor(path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Constructor arguments and weights of a classifier, ours or a released one."""
    tensors, meta = load_arrays(path)
    if meta.get("net", {}).get("name") not in _EXTRACTORS:
        raise UserError(
            f"{path}: holds no classifier; wanted what `guidelab discriminate` makes of the role classifier, or a released "
            "classifier"
        )
    prefix = f"seed{meta['seeds'][0]}/"
    return meta["net"], {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _built(config: Mapping[str, Any], draws: Draws) -> nn.Module:
    """A net with the first weights of a training."""
    arguments = {k: v for k, v in config.items() if k != "name" and v is not None}
    return build(NETS.load(config["name"]), config["name"], arguments, draws.weights())
