"""`guidelab ema`: reconstruct EMA weights of any length from a folder of EDM2's snapshots (post-hoc EMA)."""

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from guidelab.core.ema import reconstruct, reconstruct_coefficients
from guidelab.errors import UserError, counted
from guidelab.io import sha256
from guidelab.jobs.convert import write_net

# edm2-img512-xs-0134217-0.050.pkl, network-snapshot-0134217-0.100.pkl: thousands of images, length of the average
_NAME = re.compile(r"(?P<run>.*?)-?(?P<kimg>\d+)-(?P<std>\d\.\d+)\.pkl")
_KIMG = 1000
SHORTEST = 0.001  # lengths name files, in three decimals
LONGEST = 12**-0.5  # relative length of the uniform average


class Snapshot(NamedTuple):
    """One file: which training it is of, its training length in thousands of images, its averaging length."""

    path: Path
    run: str
    kimg: int
    std: float


def reconstruct_folder(
    folder: str | Path, stds: list[float], output: Path, kimg: int | None = None
) -> list[tuple[Path, float]]:
    """Write the averages of the wanted lengths at one training length, each as a net in this package's format.

    Args:
        folder: of snapshots of one training, named by training length and averaging length.
        stds: relative standard deviations wanted.
        output: folder the nets are written into, `<run>-<kimg>-<std>.safetensors`.
        kimg: training length in thousands of images; the longest in the folder when None.
    Returns:
        The files written, each with its largest coefficient: rounding of the snapshots grows by that factor.
    Raises:
        UserError: no snapshots, of several trainings, an averaging length that cannot be, a training length that no
            snapshot has, or files that are broken or of different nets.
    """
    found = _snapshots(Path(folder))
    end = kimg or found[-1].kimg
    if end not in {snapshot.kimg for snapshot in found}:
        held = ", ".join(str(length) for length in sorted({snapshot.kimg for snapshot in found}))
        raise UserError(f"{folder}: holds no snapshot at {end} thousand images; it has {held}")
    for std in stds:
        if not SHORTEST <= std <= LONGEST:
            raise UserError(f"--std: given {std:g}, wanted {SHORTEST:g} to {LONGEST:.4f}")
    names = [f"{std:.3f}" for std in stds]
    if len(set(names)) != len(names):
        raise UserError(
            f"--std: given {', '.join(names)}, wanted lengths that differ in three decimals: they name files"
        )
    used = [snapshot for snapshot in found if snapshot.kimg <= end]
    config, states = _read(used)
    kimgs, lengths = [s.kimg for s in used], [s.std for s in used]
    parents = {snapshot.path.name: sha256(snapshot.path) for snapshot in used}
    written = []
    for std, name in zip(stds, names, strict=True):
        weights = reconstruct_coefficients(kimgs, lengths, [end], [std])
        target = output / f"{used[0].run}-{end:07d}-{name}.safetensors".removeprefix("-")
        about = {"ema_std": std, "nimg": end * _KIMG, "snapshots_sha256": parents}
        write_net(target, config, reconstruct(states, kimgs, lengths, end, std), [0], about)
        written.append((target, float(abs(weights).max())))
    return written


def _read(used: list[Snapshot]) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """The configuration of a training's net, and its weights of every snapshot in float32."""
    from guidelab.checkpoints.released import read_released

    config: dict[str, Any] = {}
    states: list[dict[str, Tensor]] = []
    for snapshot in used:
        held, state = read_released(snapshot.path, "edm2_pickle")
        if config and held != config:
            raise UserError(
                f"{snapshot.path}: is another net than {used[0].path.name}; give snapshots of one training"
            )
        config = held
        states.append({name: tensor.float() for name, tensor in state.items()})
    return config, states


def _snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots in a folder, by training length and averaging length."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: is no folder; wanted one of EDM2's snapshots (<run>-0134217-0.050.pkl, ...)"
        )
    matches = [(path, _NAME.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    found = [Snapshot(path, m["run"], int(m["kimg"]), float(m["std"])) for path, m in matches if m]
    if not found:
        raise UserError(
            f"{folder}: holds no snapshots of EDM2; wanted files named by training and averaging length, such as "
            "edm2-img512-xs-0134217-0.050.pkl"
        )
    runs = sorted({snapshot.run for snapshot in found})
    if len(runs) > 1:
        raise UserError(
            f"{folder}: holds snapshots of {counted(len(runs), 'training')} ({', '.join(runs[:3])}), wanted one"
        )
    for snapshot in found:
        if not SHORTEST <= snapshot.std <= LONGEST or snapshot.kimg < 1:
            raise UserError(
                f"{snapshot.path}: names the training length {snapshot.kimg} and the averaging length {snapshot.std:g}, "
                f"wanted at least 1 and {SHORTEST:g} to {LONGEST:.4f}"
            )
    found.sort(key=lambda snapshot: (snapshot.kimg, snapshot.std))
    for one, other in itertools.pairwise(found):
        if one[2:] == other[2:]:
            raise UserError(
                f"{one.path}, {other.path}: are one snapshot of {one.kimg} and {one.std:g}; keep one of them"
            )
    return found
