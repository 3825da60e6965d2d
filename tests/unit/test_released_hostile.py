"""Malicious files are refused with a message; nothing in them is executed or imported, no declared size is trusted."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import poisoned_files as poisoned
import pytest
import torch
from poisoned_files import CASES, got

from guidelab.checkpoints.pickles import read_networks, read_pickle
from guidelab.checkpoints.released import read_released
from guidelab.checkpoints.tensors import read_tensors
from guidelab.checkpoints.vae import read_autoencoder
from guidelab.errors import UserError

DECISION = Path(__file__).parents[2] / "docs" / "decisions" / "0007-released-weights.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_malicious_files_are_refused(tmp_path, monkeypatch, case):
    monkeypatch.syspath_prepend(str(tmp_path / "x"))
    said, mark = got(case, tmp_path / "x")
    assert not mark.exists(), "something in the file was run"
    if case.says is None:
        assert said is None
    else:
        assert said is not None and case.says in said
        assert case.name in said, "the message names the file"
        assert len(said) < 1000 and "\n" not in said, "one line"


def test_the_malicious_files_would_run_code(tmp_path, monkeypatch):
    """Controls: what the cases hold does run where it is let."""
    mark = tmp_path / "harm"
    pickle.loads(pickle.dumps({"ema": poisoned.leaves(mark)}))
    assert mark.exists()
    mark.unlink()
    torch.load(poisoned.torch_file(tmp_path / "a.pt", {"w": poisoned.leaves(mark)}), weights_only=False)
    assert mark.exists()
    mark.unlink()
    torch.storage._load_from_bytes(poisoned.storage_of(poisoned.leaves(mark)))
    assert mark.exists()
    mark.unlink()
    path = poisoned.with_source(tmp_path / "b.pkl", mark)
    exec(_sources(path)[0])
    assert mark.exists()


def _sources(path):
    import pickletools

    texts = [a for o, a, _ in pickletools.genops(path.read_bytes()) if isinstance(a, str)]
    return [text for text in texts if text.startswith("import os")]


def test_source_is_measured_and_no_module_is_imported(tmp_path):
    mark = tmp_path / "harm"
    path = poisoned.with_source(tmp_path / "a.pkl", mark)
    before = set(sys.modules)
    found = read_pickle(path)["ema"]
    assert found.source_length == len(_sources(path)[0]) and len(found.source_sha256) == 64
    assert "import os" not in repr(found)
    assert not mark.exists()
    assert not {name for name in set(sys.modules) - before if "persistence" in name or "dnnlib" in name}


@pytest.mark.parametrize("step", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_truncated_pickles(tmp_path, step):
    whole = poisoned.edm2(tmp_path / "a.pkl").read_bytes()
    path = poisoned.raw(tmp_path / "cut.pkl", whole[: int(len(whole) * step)])
    with pytest.raises(UserError, match=r"cut short or damaged|announces|nothing in the file was run"):
        read_networks(path)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_pickles_never_raise_anything_else(tmp_path, seed):
    whole = bytearray(poisoned.edm2(tmp_path / "a.pkl").read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(whole), 20):
        whole[place] = rng.integers(256)
    path = poisoned.raw(tmp_path / "bad.pkl", bytes(whole))
    try:
        read_released(path, "edm2_pickle")
    except UserError as error:
        assert "bad.pkl" in str(error)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("step", [0.05, 0.5, 0.95])
def test_truncated_torch_files(tmp_path, step, legacy):
    state = {f"w{i}": torch.randn(50) for i in range(20)}
    whole = poisoned.torch_file(tmp_path / "a.pt", state, legacy).read_bytes()
    assert set(read_tensors(tmp_path / "a.pt")) == set(state)
    path = poisoned.raw(tmp_path / "cut.pt", whole[: int(len(whole) * step)])
    with pytest.raises(UserError, match=r"cut\.pt"):
        read_tensors(path)


def test_files_larger_than_any_released_one_are_refused(tmp_path):
    path = poisoned.edm2(tmp_path / "a.pkl")
    with pytest.raises(UserError, match="wanted at most 1000"):
        read_pickle(path, max_bytes=1000)
    path = poisoned.torch_file(tmp_path / "a.pt", {"w": torch.zeros(999)})
    with pytest.raises(UserError, match="wanted at most 1000"):
        read_tensors(path, max_bytes=1000)


def test_deeply_nested_files_end_no_process(tmp_path):
    """A deep tuple as key of a dict would overflow the C stack when it is hashed: in a process of its own."""
    content = b"\x80\x04}" + b")" + b"\x85" * 1_000_000 + b"Ns."
    path = poisoned.raw(tmp_path / "deep.pkl", content)
    code = (
        "import sys\nfrom guidelab.checkpoints.pickles import read_pickle\nfrom guidelab.errors import UserError\n"
        "try:\n    read_pickle(sys.argv[1])\nexcept UserError as e:\n    print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0 and "nested more than" in done.stdout, done.stderr


def test_safetensors_cut_short(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(100)}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for size in (4, 20, len(whole) - 8):
        path = poisoned.raw(tmp_path / "cut.safetensors", whole[:size])
        with pytest.raises(UserError, match="cut short or damaged"):
            read_tensors(path)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 60_000, "is not JSON"),
        ('{"_class_name": "UNet2DModel"}', "describes UNet2DModel"),
        (
            '{"_class_name": "AutoencoderKL", "latent_channels": 4}',
            "wanted the folder of a diffusers AutoencoderKL",
        ),
        (" " * 70_000, "more than"),
    ],
)
def test_descriptions_of_autoencoders(tmp_path, config, says):
    (tmp_path / "config.json").write_text(config)
    torch.save({"w": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=says):
        read_autoencoder(tmp_path)


def test_the_list_in_the_decision_is_complete():
    text = DECISION.read_text(encoding="utf-8")
    missing = [case.what for case in CASES if f"| {case.what} |" not in text]
    assert not missing, "print it again: python tests/unit/poisoned_files.py"
