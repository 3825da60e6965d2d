"""Ours against torch-fidelity's own functions, and the traps around it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from guidelab.metrics.fidelity import Settings, fidelity
from guidelab.metrics.frechet import frechet_distance, moments
from guidelab.metrics.manifold import manifold
from guidelab.metrics.torchvision_repair import import_torchvision

ALL = ("fid", "precision", "recall")


def theirs_of(generated, reference, names=ALL, **how):
    return fidelity(
        names, generated=generated, reference=reference, settings=Settings(**{"dtype": torch.float64} | how)
    )


def sets(features=24, offset=0.0):
    rng = np.random.default_rng(features)
    generated = offset + 0.7 * rng.standard_normal((400, features))
    reference = offset + rng.standard_normal((500, features))
    return generated.astype(np.float32), reference.astype(np.float32)


@pytest.mark.parametrize("features", [2, 24, 128])
def test_frechet_precision_and_recall_agree(features):
    generated, reference = sets(features)
    theirs = theirs_of(generated, reference)
    ours = manifold(generated=generated, reference=reference, k=3)
    distance = frechet_distance(generated=moments(generated), reference=moments(reference))
    assert distance == pytest.approx(theirs["fid"], rel=1e-9)
    assert ours.precision.value == pytest.approx(theirs["precision"], abs=1e-6)  # theirs is a float32 mean
    assert ours.recall.value == pytest.approx(theirs["recall"], abs=1e-6)


def test_generated_is_input_1_and_real_input_2():
    rng = np.random.default_rng(0)
    collapsed, reference = 0.05 * rng.standard_normal((300, 2)), rng.standard_normal((300, 2))
    values = theirs_of(collapsed, reference, ["precision", "recall"])
    assert values["precision"] > 0.9 and values["recall"] < 0.1
    swapped = theirs_of(reference, collapsed, ["precision", "recall"])
    assert (swapped["precision"], swapped["recall"]) == (values["recall"], values["precision"])
    with pytest.raises(TypeError):
        fidelity(["fid"], collapsed, reference, settings=Settings())


def test_float32_features_do_not_get_a_float32_mean():
    generated, reference = sets(8, offset=3000.0)
    truth = frechet_distance(
        generated=moments(generated.astype(np.float64)), reference=moments(reference.astype(np.float64))
    )
    assert theirs_of(generated, reference)["fid"] == pytest.approx(truth, rel=1e-9)
    default = theirs_of(generated, reference, ["fid"], dtype=torch.float32)["fid"]
    assert abs(default / truth - 1) > 1e-6  # what its own extractors give it
    import_torchvision()
    from torch_fidelity.metric_fid import fid_features_to_statistics

    naive = fid_features_to_statistics(torch.from_numpy(generated))["mu"]
    assert np.abs(naive - generated.astype(np.float64).mean(0)).max() > 1e-5


def test_changed_features_are_never_answered_from_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    generated, reference = sets()
    before = theirs_of(generated, reference)["fid"]
    generated += 1
    assert theirs_of(generated, reference)["fid"] > before + 20
    assert list(tmp_path.iterdir()) == []


def test_torchvision_imports_twice_and_its_missing_operators_still_say_so():
    code = (
        "from guidelab.metrics.torchvision_repair import import_torchvision as f\n"
        "a, b = f(), f()\n"
        "assert a is b and a.__name__ == 'torchvision'\n"
        "import torch_fidelity, torchvision.transforms.v2\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert import_torchvision() is import_torchvision()


def test_other_import_errors_pass_through(monkeypatch):
    from guidelab.metrics import torchvision_repair

    def broken(_name):
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(torchvision_repair.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="disk on fire"):
        import_torchvision()
