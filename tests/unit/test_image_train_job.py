"""`guidelab train` for images, from ZIP to a net that denoises; alone and in a group of processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import CONFIG, NETS, moments, pictures

from guidelab import registry
from guidelab.assemble import load_net
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError
from guidelab.io import load_arrays, read_csv
from guidelab.jobs import reconstruct, train
from guidelab.jobs.image_learner import live_folder

LATENT = {"encoding": "ldm", "side_px": 8, "channels": 2}
OUTPUTS = [
    Path("results/tiny/checkpoints/main/seed0.safetensors"),
    Path("results/tiny/checkpoints/main/seed0.csv"),
]


def job_of(name: str) -> dict[str, Any]:
    latent = name == "dit"
    recipe = {key: value for key, value in CONFIG.items() if key not in ("net", "conditional", "classes")}
    return {
        "examples": "images",
        "net": NETS[name],
        "conditional": True,
        "train": recipe | {"loss": None, "label_dropout": 0.0, "flip": not latent, "precision": "bfloat16"},
        "seeds": [0],
        "dataset": {"classes": 3},
        "latent": LATENT if latent else None,
        "inputs": {"data": ["latents.zip" if latent else "images.zip"]},
        "code": "abc",
    }


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / "states"))
    images, labels = pictures()
    names = tuple(f"{index}.png" for index in range(len(images)))
    for path, told in (("images.zip", labels), ("bare.zip", None)):
        write_zip(path, ImageSet(images, told, names))
    with ZipWriter(Path("latents.zip"), {"encoding": "ldm"}) as writer:
        for moment, label in zip(moments()[0].numpy(), labels.tolist(), strict=True):
            writer.add_latent(moment, label)


@pytest.mark.parametrize("name", ["edm", "dit"])
def test_from_a_zip_to_checkpoints(name: str, tmp_path: Path) -> None:
    train.run(job_of(name), OUTPUTS)
    tensors, meta = load_arrays(OUTPUTS[0])
    assert (
        meta["kind"] == "checkpoints" and meta["code"] == "abc" and meta["train"]["precision"] == "bfloat16"
    )
    assert meta["nimg"] == [32, 64, 96] and meta["ema_stds"] == [0.05, 0.1] and meta["seeds"] == [0]
    curve = read_csv(OUTPUTS[1])
    assert list(curve.columns) == ["train_seed", "iteration", "nimg", "loss"] and curve["nimg"].tolist() == [
        96
    ]
    prefix = "seed0/ema0.100/nimg64/"
    config = dict(meta["net"])
    net = registry.load("net", config.pop("name"))(**config)
    net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    assert not list((tmp_path / "states").iterdir())


def test_a_checkpoint_becomes_a_model_that_denoises(tmp_path: Path) -> None:
    job = job_of("edm2") | {"seeds": [0, 4]}
    outputs = [Path("results/tiny/checkpoints/main/seeds0,4") for _ in range(2)]
    outputs = [outputs[0].with_suffix(".safetensors"), outputs[1].with_suffix(".csv")]
    train.run(job, outputs)
    tensors, meta = load_arrays(outputs[0])
    assert meta["kind"] == "checkpoints" and meta["code"] == "abc" and meta["net"]["classes"] == 3
    curve = read_csv(outputs[1])
    assert list(curve.columns) == ["train_seed", "iteration", "nimg", "loss"]
    assert curve["train_seed"].tolist() == [0, 4] and curve["nimg"].tolist() == [96, 96]
    assert not list((tmp_path / "states").iterdir())

    wanted = {"inputs": {"checkpoints": [str(outputs[0])]}, "model": "main", "code": "abc"}
    for ema_std in (0.05, 0.08):
        path = Path(f"results/tiny/models/main{ema_std}.safetensors")
        reconstruct.run({**wanted, "nimg": 96, "ema_std": ema_std}, [path])
        net = load_net(path, 4)
        image = torch.zeros(2, 1, 8, 8)
        with torch.no_grad():
            denoised = net(image, torch.tensor([0.5, 2.0]), torch.tensor([0, 2]))
        assert denoised.shape == (2, 1, 8, 8) and torch.isfinite(denoised).all()
    stored = "seed4/ema0.050/nimg96/unet.out_gain"
    model, _ = load_arrays("results/tiny/models/main0.05.safetensors")
    assert torch.equal(model["seed4/unet.out_gain"], tensors[stored])


def test_curves_are_named_after_the_checkpoint() -> None:
    path = Path("results/fashion/checkpoints/main/seed0.safetensors")
    assert live_folder(path) == live_folder(Path("/x") / path) == Path("logs/live/fashion/main/seed0")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("dit", {"inputs": {"data": ["images.zip"]}}, r"images\.zip: holds images, wanted latents"),
        ("edm", {"inputs": {"data": ["latents.zip"]}}, r"latents\.zip: holds latents, wanted images"),
        ("edm", {"inputs": {"data": ["bare.zip"]}}, r"bare\.zip: has no labels"),
        ("edm", {"dataset": {"classes": 2}}, "has a label 2, wanted 0 to 1"),
        ("dit", {"latent": LATENT | {"encoding": "edm2"}}, "of encoding ldm, wanted edm2"),
        ("dit", {"latent": LATENT | {"channels": 4}}, r"wanted means and deviations \(8, 8, 8\)"),
        ("edm", {"inputs": {"data": ["absent.zip"]}}, r"absent\.zip"),
    ],
)
def test_data_that_do_not_fit_are_named(name: str, change: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        train.run(job_of(name) | change, OUTPUTS)


def test_a_net_without_classes_needs_no_labels() -> None:
    train.run(job_of("edm2") | {"inputs": {"data": ["bare.zip"]}, "conditional": False}, OUTPUTS)
    assert load_arrays(OUTPUTS[0])[1]["net"]["classes"] == 0


SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from guidelab.assemble import load_net
from guidelab.jobs import reconstruct, train
from guidelab.train.step import Trainer
from guidelab.train.stop import Stopped

def told(self, state, iteration, plain=Trainer.step):
    if iteration == 5 and self.group.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return plain(self, state, iteration)

if sys.argv[1] == "stopped":
    Trainer.step = told
try:
    train.run(json.loads(Path("job.json").read_text()), [Path("two.safetensors"), Path("two.csv")])
except Stopped as error:
    Path(f"stopped{os.environ['RANK']}.txt").write_text(str(error))
"""


def together(mode: str) -> None:
    Path("script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "script.py", mode], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edm2", "dit"])
def test_two_processes_train_as_one(name: str) -> None:
    job = job_of(name)
    job["train"] |= {"microbatch": 2, "lr": 1e-3}
    Path("job.json").write_text(json.dumps(job))
    if name == "edm2":
        together("stopped")
        assert "stopped after 6 of 12" in Path("stopped0.txt").read_text()
        assert "stopped together with process 0" in Path("stopped1.txt").read_text()
        assert not Path("two.safetensors").exists()
    together("whole")
    job["train"]["microbatch"] = None
    train.run(job, [Path("one.safetensors"), Path("one.csv")])
    one, two = (load_arrays(f"{found}.safetensors")[0] for found in ("one", "two"))
    assert one.keys() == two.keys()
    flat = [torch.cat([found[key].reshape(-1) for key in sorted(one)]) for found in (one, two)]
    assert (flat[0] - flat[1]).norm() <= 1e-3 * flat[0].norm()
    losses = [read_csv(f"{found}.csv")["loss"].tolist() for found in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
