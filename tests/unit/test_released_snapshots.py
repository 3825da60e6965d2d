"""Averages of any length from a folder of EDM2's snapshots: those of a training whose averages are known."""

import numpy as np
import poisoned_files as poisoned
import pytest
import torch
from typer.testing import CliRunner

from guidelab.cli.released import released_commands
from guidelab.cli.snapshots import reconstruct_folder
from guidelab.core.ema import beta, std_to_gamma
from guidelab.errors import UserError
from guidelab.io import load_arrays

STEP, STEPS = 1000, 64  # thousands of images an iteration, iterations
STORED, WANTED = (0.05, 0.1), (0.04, 0.075, 0.15)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Snapshots of a training that moves all weights along a curve, and its directly tracked averages."""
    folder = tmp_path_factory.mktemp("snapshots")
    base = {
        name: t.float()
        for name, t in poisoned.Edm2(8, 3, 4, 16, [1, 2], 1, [4], head_channels=16).named_parameters()
    }
    slope = {
        name: torch.randn(t.shape, generator=torch.Generator().manual_seed(0)) for name, t in base.items()
    }
    averages: dict[float, float] = dict.fromkeys((*STORED, *WANTED), 0.0)
    for step in range(1, STEPS + 1):
        value = np.sin(step / STEPS * 3)  # how far along the slope
        for std in averages:
            decay = float(beta(step, 1, std_to_gamma(std)))
            averages[std] = decay * averages[std] + (1 - decay) * value
        if step % 4 == 0:
            for std in STORED:
                state = {name: (t + averages[std] * slope[name]).detach() for name, t in base.items()}
                name = f"edm2-img512-xs-{step * STEP:07d}-{std:.3f}.pkl"
                poisoned.edm2(folder / name, ema=poisoned.ema(state=state))
    return folder, base, slope, averages


@pytest.mark.parametrize("std", WANTED)
def test_a_reconstructed_average_is_never_another_than_the_tracked_one(training, tmp_path, std):
    folder, base, slope, averages = training
    [(target, largest)] = reconstruct_folder(folder, [std], tmp_path)
    tensors, meta = load_arrays(target)
    assert target.name == f"edm2-img512-xs-{STEPS * STEP:07d}-{std:.3f}.safetensors" and largest < 100
    assert (
        meta["ema_std"] == std and meta["nimg"] == STEPS * STEP * 1000 and len(meta["snapshots_sha256"]) == 32
    )
    name = "unet.enc.8x8_block0.conv_res0.weight"
    moved = ((tensors[f"seed0/{name}"] - base[name]) / slope[name]).median()
    assert abs(float(moved) - averages[std]) < 0.01 * abs(averages[std])
    assert abs(averages[std] - averages[0.05]) > 0.002, "other lengths are other averages"


def test_the_command_writes_every_length_and_names_mistakes(training, tmp_path):
    folder = training[0]
    run = CliRunner().invoke
    done = run(
        released_commands, ["ema", str(folder), "--std", "0.05,0.1", "-o", str(tmp_path), "--kimg", "32000"]
    )
    assert done.exit_code == 0 and done.output.count("largest coefficient 1") == 2, done.output
    stored = {p.name for p in tmp_path.iterdir()}
    assert stored == {"edm2-img512-xs-0032000-0.050.safetensors", "edm2-img512-xs-0032000-0.100.safetensors"}
    for arguments, says in (
        ([str(folder), "--std", "0.05,x"], "wanted numbers with commas"),
        ([str(folder), "--std", "0.5"], "wanted 0.001 to 0.2887"),
        ([str(folder), "--std", "nan"], "given nan, wanted 0.001"),
        ([str(folder), "--std", "1e-9"], "wanted 0.001"),
        ([str(folder), "--std", "0.0501,0.0502"], "differ in three decimals"),
        ([str(folder), "--std", "0.05", "--kimg", "5"], "holds no snapshot at 5 thousand"),
        ([str(tmp_path), "--std", "0.05"], "holds no snapshots"),
        ([str(tmp_path / "absent"), "--std", "0.05"], "is no folder"),
    ):
        error = run(released_commands, ["ema", *arguments]).exception
        assert isinstance(error, UserError) and says in str(error)
    (tmp_path / "two").mkdir()
    for name in ("a-0001000-0.050.pkl", "b-0001000-0.050.pkl"):
        poisoned.edm2(tmp_path / "two" / name)
    with pytest.raises(UserError, match="of 2 trainings"):
        reconstruct_folder(tmp_path / "two", [0.05], tmp_path)


def test_one_snapshot_under_two_names_never_ends_in_a_traceback(tmp_path):
    for name in ("a-0001000-0.050.pkl", "a-1000-0.0500.pkl"):
        poisoned.edm2(tmp_path / name)
    with pytest.raises(UserError, match="are one snapshot of 1000"):
        reconstruct_folder(tmp_path, [0.05], tmp_path)
