import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train_images import CONFIG, NET, pictures

from guidelab.assemble import load_net
from guidelab.cli import reconstruct
from guidelab.cli.images import train
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.errors import UserError
from guidelab.io import load_arrays, read_csv


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / "states"))
    images, labels = pictures()
    names = tuple(f"{index}.png" for index in range(len(images)))
    write_zip(tmp_path / "train.zip", ImageSet(images, labels, names))
    recipe = {key: value for key, value in CONFIG.items() if key not in ("net", "conditional", "classes")}
    return {
        "net": NET,
        "conditional": True,
        "train": recipe,
        "seeds": [0, 4],
        "inputs": {"data": ["train.zip"]},
        "code": "abc",
    }


def test_a_checkpoint_becomes_a_model_that_denoises(job: dict[str, Any], tmp_path: Path) -> None:
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
    assert (
        train.live_folder(path)
        == train.live_folder(Path("/x") / path)
        == Path("logs/live/fashion/main/seed0")
    )


def test_data_that_do_not_fit_are_named(job: dict[str, Any], tmp_path: Path) -> None:
    images, labels = pictures()
    names = tuple(f"{index}.png" for index in range(len(images)))
    write_zip(tmp_path / "bare.zip", ImageSet(images, None, names))
    write_zip(tmp_path / "small.zip", ImageSet(images[:, :, :4, :4].contiguous(), labels, names))
    outputs = [tmp_path / "a.safetensors", tmp_path / "a.csv"]
    for data, words, extra in (
        (["bare.zip"], r"bare\.zip: has no labels", {}),
        (["train.zip", "small.zip"], r"small\.zip: holds images \(1, 4, 4\), wanted \(1, 8, 8\)", {}),
        (["train.zip"], "labels up to 2, wanted below classes = 2", {"dataset": {"classes": 2}}),
    ):
        with pytest.raises(UserError, match=words):
            train.run({**copy.deepcopy(job), "inputs": {"data": data}, **extra}, outputs)
    train.run({**job, "inputs": {"data": ["bare.zip", "bare.zip"]}, "conditional": False, "seeds": [1]}, outputs)  # fmt: skip
    assert load_arrays(outputs[0])[1]["net"]["classes"] == 0
