"""Train denoisers: one loop for every net, loss and kind of examples, one training seed after the other."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from guidelab.errors import UserError
from guidelab.train.distributed import Live, TrainingGroup, train_together
from guidelab.train.loop import LOG_EVERY, State, TrainingSpec
from guidelab.train.snapshots import Curve, Snapshots, curve_of, named


class Stepping(Live, Protocol):
    """A trainer: the state it works on, one iteration of `guidelab.train.loop`, and its end."""

    def step(self, state: State, iteration: int) -> tuple[State, Tensor]:
        """One iteration: `(next state, loss [1])`."""
        ...

    def close(self) -> None:
        """Release what the trainer holds."""
        ...


class Started(NamedTuple):
    """A seed's trainer before its first iteration, its net, all arguments that make the net again, and a title."""

    trainer: Stepping
    net: nn.Module
    described: dict[str, Any]
    title: str


class Learner(Protocol):
    """What differs between denoisers: examples, loss and step.

    Attributes:
        config: `net`, `nimg`, `batch`, `snapshot_nimg`, `ema_stds` (counts of examples are integers), and what the
            learner itself reads.
        key: JSON-serialisable; what else decides the result.
        about: further entries of the result's description.
        interleaved: the curve lists all seeds of an iteration together, not all iterations of a seed.
        group: the processes that train together.
    """

    config: Mapping[str, Any]
    key: Mapping[str, Any]
    about: Mapping[str, Any]
    interleaved: bool
    group: TrainingGroup

    def start(self, seed: int, resumed: bool) -> Started:
        """The trainer of a seed; `resumed`: a saved state takes the place of its first one."""
        ...


def train_denoiser(
    learner: Learner, seeds: Sequence[int], state_dir: str | Path, progress: bool = True
) -> tuple[Snapshots, dict[str, Any], Curve]:
    """Train one denoiser for every seed, one after the other.

    First weights, order of the examples, noise levels and noise follow from the seed alone, so a result depends neither
    on the other seeds, nor on the threads that read, nor on where it was interrupted, bit for bit on a CPU. Snapshots are
    read from the states' folders as they are used: keep these until the result is written.

    Args:
        learner: the net's examples, loss and step.
        seeds: training seeds.
        state_dir: folder of the resumable states, one subfolder for each seed.
        progress: show a bar on standard error.
    Returns:
        Averaged weights and buffers `seed{S}/ema{std:.3f}/nimg{N}/{parameter}`, their description, and the loss curve
        (loss per example). Empty at all processes but the first.
    Raises:
        Stopped: see `guidelab.train.loop.run`.
        UserError: see there; or lengths that are no whole number of batches.
    """
    config = learner.config
    _check(config)
    tensors: Snapshots = {}
    curve: Curve = []
    broken: dict[str, int] = {}
    meta: dict[str, Any] = {}
    for seed in seeds:
        folder = Path(state_dir) / f"seed{seed}"
        started = learner.start(seed, (folder / "state.safetensors").exists())
        course = _course(started, {**config, **learner.key, "net": started.described, "seed": seed})
        try:
            kept, losses = train_together(course, folder, learner.group, started.trainer, progress)
        finally:
            started.trainer.close()
        if learner.group.leader:
            tensors |= named(started.net, kept, config["batch"], seed)
            curve += curve_of(losses, seed, config)
            if "nonfinite" in (last := kept[max(kept)]):
                broken[str(seed)] = int(last["nonfinite"])
            meta = {"net": started.described, "nimg": [iteration * config["batch"] for iteration in kept]}
    if any(broken.values()):
        warnings.warn(f"gradients that were not finite were zeroed, by seed: {broken}", stacklevel=2)
    if learner.interleaved:
        curve.sort(key=lambda row: row[1])
    given = {key: value for key, value in config.items() if key not in ("net", "classes")}
    about = {**learner.about, "seeds": list(seeds), "ema_stds": list(config["ema_stds"]), "train": given}
    return tensors, {**meta, **about} | ({"nonfinite_gradients": broken} if broken else {}), curve


def _course(started: Started, key: dict[str, Any]) -> TrainingSpec:
    batch, trainer = key["batch"], started.trainer

    def snapshot(state: State) -> State:
        return {name: value for name, value in state.items() if name.startswith("ema") or name == "nonfinite"}

    return TrainingSpec(
        key=key,
        initial=lambda: trainer.live,
        step=trainer.step,
        snapshot=snapshot,
        iterations=key["nimg"] // batch,
        snapshot_every=key["snapshot_nimg"] // batch,
        log_every=LOG_EVERY,
        title=f"{key['net'].get('name', 'net')} {started.title}, seed {key['seed']}",
    )


def _check(config: Mapping[str, Any]) -> None:
    nimg, every, batch = config["nimg"], config["snapshot_nimg"], config["batch"]
    if every % batch or nimg % every or nimg < every:
        raise UserError(
            f"train: snapshot_nimg {every} must be a whole number of batches of {batch}, and nimg {nimg} a whole number of "
            "snapshots; change them in params.yaml"
        )
