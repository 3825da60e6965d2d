"""Files written by pickle and torch themselves, not by our writer, as real training code saves them."""

import argparse
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from guidelab.checkpoints.pickles import read_networks, read_pickle
from guidelab.checkpoints.tensors import read_tensors


@pytest.fixture
def saving(monkeypatch):
    """A stand-in of the module that EDM saves its classes with: their source goes into the file."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the stand-in only saves")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    easy, util = types.ModuleType("dnnlib"), types.ModuleType("dnnlib.util")
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    for name, found in (
        ("torch_utils", package),
        (module.__name__, module),
        ("dnnlib", easy),
        ("dnnlib.util", util),
    ):
        monkeypatch.setitem(sys.modules, name, found)

    def persistent(cls):
        def reduce(self):
            meta = {
                "type": "class",
                "version": 6,
                "module_src": "# source\n" * 99,
                "class_name": cls.__name__,
            }
            return _reconstruct_persistent_obj, ({**meta, "state": dict(self.__dict__)},)

        cls.__reduce__ = reduce
        return cls

    return persistent, util.EasyDict


def network(persistent, half):
    @persistent
    class Part(nn.Module):
        def __init__(self, width):
            super().__init__()
            self._init_args, self._init_kwargs = (), {"width": width}
            self.weight = nn.Parameter(torch.randn(width, 3, 3).transpose(0, 1))  # not contiguous
            self.bias = None
            self.register_buffer("table", torch.randn(5)[1:4])  # a view: its memory is larger
            self.register_buffer("passing", torch.zeros(2), persistent=False)

    @persistent
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self._init_args = ()
            self._init_kwargs = {"img_resolution": 8, "channel_mult": (1, 2), "scale": np.float64(0.5)}
            self.enc = nn.ModuleDict({"8x8_block": Part(4), "8x8_down": Part(6)})
            self.gain = nn.Parameter(torch.zeros([]))
            self.tied = self.enc["8x8_block"].weight

    net = Net()
    return net.half() if half else net


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("half", [False, True])
def test_networks_saved_by_torch_itself(tmp_path, saving, protocol, half):
    persistent, easy = saving
    net = network(persistent, half)
    extra = {"encoder": None, "scale": np.float32([1, 2]), "seed": np.int64(3), "rows": {1, 2}}
    content = easy(ema=net, dataset_kwargs=easy(path="x.zip", use_labels=True), **extra)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_networks(tmp_path / "a.pkl")["ema"]
    wanted = net.state_dict()
    assert list(found.state) == list(wanted)
    for name, tensor in wanted.items():
        assert found.state[name].dtype == tensor.dtype and torch.equal(found.state[name], tensor), name
    assert found.class_name == "Net"
    assert found.init_kwargs == {"img_resolution": 8, "channel_mult": [1, 2], "scale": 0.5}
    assert read_pickle(tmp_path / "a.pkl")["dataset_kwargs"] == {"path": "x.zip", "use_labels": True}


@pytest.mark.parametrize("legacy", [False, True])
def test_training_checkpoints_as_dit_leaves_them(tmp_path, legacy):
    net = nn.Linear(3, 2)
    opt = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    opt.step()
    ema = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    args = argparse.Namespace(global_batch_size=256, image_size=256, results_dir="results")
    content = {"model": net.state_dict(), "ema": ema, "opt": opt.state_dict(), "args": args}
    torch.save(content, tmp_path / "0050000.pt", _use_new_zipfile_serialization=not legacy)
    found = read_tensors(tmp_path / "0050000.pt")
    assert all(torch.equal(found[name], ema[name]) for name in ema) and set(found) == set(ema)
