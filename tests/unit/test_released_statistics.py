"""Published reference statistics: every format, and malicious files."""

import os
import pickle
import re
import tracemalloc
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from guidelab.checkpoints.released import read_released
from guidelab.data import limits
from guidelab.errors import UserError
from guidelab.metrics.frechet import Moments, frechet_distance, moments
from guidelab.metrics.frechet_fixed import frechet_fixed, spread


class Read(NamedTuple):
    mean: np.ndarray
    cov: np.ndarray


def read_reference_stats(path: Path) -> dict[str, Read]:
    """Mean and covariance by family, through the reader that every command uses."""
    _, tensors = read_released(path, "reference_npz" if path.suffix == ".npz" else "reference_pkl")
    return {
        family: Read(tensors[f"mean{suffix}"].numpy(), tensors[f"cov{suffix}"].numpy())
        for family, suffix in (("fid", ""), ("fd_dinov2", "_dinov2"))
        if f"mean{suffix}" in tensors
    }


def stats(features=6, seed=0):
    x = np.random.default_rng(seed).standard_normal((200, features))
    return {"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)}


def write(path: Path, content, protocol=4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_edm2_pickles_of_every_binary_protocol(tmp_path, protocol, order):
    fid, dino = stats(), stats(4, seed=1)
    rng = np.random.default_rng(2)
    lopsided = {"mu": fid["mu"], "sigma": np.asarray(fid["sigma"] + 1e-9 * rng.random((6, 6)), order=order)}
    path = write(
        tmp_path / "img512.pkl", {"num_images": np.int64(50000), "fid": lopsided, "fd_dinov2": dino}, protocol
    )
    found = read_reference_stats(path)
    assert set(found) == {"fid", "fd_dinov2"}
    np.testing.assert_array_equal(found["fid"].mean, fid["mu"])
    np.testing.assert_allclose(found["fid"].cov, fid["sigma"], atol=1e-8)
    np.testing.assert_allclose(found["fd_dinov2"].cov, dino["sigma"], rtol=1e-15)


def test_names_of_numpy_before_and_after_2(tmp_path):
    now = pickle.dumps({"fid": stats()}, protocol=4)
    assert b"numpy._core" in now
    old = now.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    assert old != now
    # the frame's length precedes it; without the frame the content is the same
    head, frame = old[:2], old[2:]
    assert frame[:1] == b"\x95"
    path = write(tmp_path / "old.pkl", head + frame[9:])
    np.testing.assert_array_equal(read_reference_stats(path)["fid"].mean, stats()["mu"])


def test_edm_npz_and_the_frechet_distance_to_it(tmp_path):
    np.savez(tmp_path / "cifar10-32x32.npz", **stats())
    found = read_reference_stats(tmp_path / "cifar10-32x32.npz")
    assert set(found) == {"fid"}
    reference = Moments(found["fid"].mean, found["fid"].cov, 50_000)
    x = np.random.default_rng(3).standard_normal((100, 6)) + 0.5
    expected = frechet_distance(generated=moments(x), reference=reference)
    assert frechet_fixed(generated=x, reference=spread(reference)).value == pytest.approx(expected, rel=1e-10)


class Harm:
    """Calls something when it is unpickled."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


def harmful(marker: Path):
    import runpy

    code = f"open({str(marker)!r}, 'w').write('ran')"
    yield "os.system", Harm(os.system, f"touch {marker}")
    yield "eval", Harm(eval, code)
    yield "exec", Harm(exec, code)
    yield "torch storage", Harm(torch.storage._load_from_bytes, pickle.dumps(Harm(exec, code)))
    yield "getattr", Harm(getattr, "text", "format")
    yield "run_path", Harm(runpy.run_path, str(marker))
    yield "np.load", Harm(np.load, str(marker))
    yield "np.fromfile", Harm(np.fromfile, str(marker))
    yield "object array", np.array([Harm(exec, code)], dtype=object)


def test_nothing_in_a_malicious_file_is_executed(tmp_path):
    marker = tmp_path / "marker"
    for name, poison in harmful(marker):
        for content in ({"fid": {**stats(), "mu": poison}}, {"fid": stats(), "extra": [poison]}, poison):
            with pytest.raises(UserError, match="nothing in the file was run"):
                read_reference_stats(write(tmp_path / "poisoned.pkl", content))
            assert not marker.exists(), name


def text(value: str) -> bytes:
    """The instruction that pushes a text."""
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def test_the_allowed_names_cannot_be_bent(tmp_path):
    """BUILD sets attributes of what lies on the stack: neither functions nor types of ours may change by it."""
    for known in (b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"):
        bent = known + b"(N}" + text("__defaults__") + text("x") + b"stb."  # (None, {"__defaults__": "x"})
        with pytest.raises(UserError, match=r"changes a|Error"):
            read_reference_stats(write(tmp_path / "bent.pkl", bent))
    with pytest.raises(UserError, match="of type"):
        read_reference_stats(write(tmp_path / "type.pkl", b"cnumpy\ndtype\n(" + text("O8") + b"tR."))
    with pytest.raises(UserError, match="PERSID"):
        read_reference_stats(write(tmp_path / "persistent.pkl", b"Psomewhere\n."))
    np.testing.assert_array_equal(
        read_reference_stats(write(tmp_path / "good.pkl", {"fid": stats()}))["fid"].mean, stats()["mu"]
    )


def test_truncated_recursive_and_oversized_files(tmp_path, monkeypatch):
    whole = pickle.dumps({"fid": stats()})
    for cut in range(0, len(whole), 17):
        with pytest.raises(UserError):
            read_reference_stats(write(tmp_path / "cut.pkl", whole[:cut]))
    loop: dict = {}
    loop["fid"] = loop
    with pytest.raises(UserError, match="mu"):
        read_reference_stats(write(tmp_path / "loop.pkl", loop))
    deep = b"]" * 200_000 + b"a" * 199_999 + b"."
    with pytest.raises(UserError):
        read_reference_stats(write(tmp_path / "deep.pkl", deep))
    slot = b"\x80\x04Nr" + (2**31 - 1).to_bytes(4, "little") + b"."
    with pytest.raises(UserError, match="memory slot"):
        read_reference_stats(write(tmp_path / "slot.pkl", slot))
    monkeypatch.setattr(limits, "STATISTICS_PICKLE_BYTES", 100)
    with pytest.raises(UserError, match="at most 100"):
        read_reference_stats(write(tmp_path / "large.pkl", whole))


def test_an_npz_never_reserves_memory_for_more_than_statistics_need(tmp_path):
    """Zeros pack a thousandfold: shapes in the headers are validated before anything is unpacked."""
    path = tmp_path / "bomb.npz"
    side = limits.FEATURES + 1
    np.savez_compressed(tmp_path / "small.npz", mu=np.zeros(8), sigma=np.eye(8))
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        zipfile.ZipFile(tmp_path / "small.npz") as small,
    ):
        for name in ("mu_s", "sigma_s", "mu"):
            file.writestr(f"{name}.npy", small.read("mu.npy"))
        with file.open("sigma.npy", "w") as entry:
            np.lib.format.write_array_header_1_0(
                entry, {"descr": "<f8", "fortran_order": False, "shape": (side, side)}
            )
            for _ in range(side):
                entry.write(bytes(8 * side))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"wanted at most \d+ features"):
        read_reference_stats(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    assert read_reference_stats(tmp_path / "small.npz")["fid"].cov.shape == (8, 8)
    np.savez(tmp_path / "objects.npz", mu=np.array([{}], dtype=object), sigma=np.eye(1))
    with pytest.raises(UserError, match=r"plain numbers|pickled objects"):
        read_reference_stats(tmp_path / "objects.npz")


def test_further_entries_never_make_statistics_unreadable(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        **stats(),
        note=np.array("500 images of mine"),
        names=np.array(["a", "b"]),
        n=np.int64(9),
    )
    np.testing.assert_array_equal(read_reference_stats(tmp_path / "a.npz")["fid"].mean, stats()["mu"])


@pytest.mark.parametrize(
    ("mean", "cov", "says"),
    [
        (np.zeros(4), np.full((4, 4), 1e308), "values above 1e+15"),
        (np.full(4, 1e300), np.eye(4), "values above 1e+15"),
        (np.zeros(4), np.zeros((4, 4)), "of a single image"),
    ],
)
def test_no_statistics_fail_after_they_were_accepted(tmp_path, mean, cov, says):
    np.savez(tmp_path / "a.npz", mu=mean, sigma=cov)
    with pytest.raises(UserError, match=re.escape(says)):
        read_reference_stats(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["mu.npy", "mu"])
def test_the_last_of_two_means_is_never_taken(tmp_path, second):
    np.savez(tmp_path / "a.npz", **stats())
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr(second, file.read("mu.npy"))
    with pytest.raises(UserError, match="two entries of the same name"):
        read_reference_stats(tmp_path / "a.npz")


@pytest.mark.parametrize("least", [-4.0, -1e-3])
def test_a_matrix_with_a_negative_eigenvalue_is_never_taken_for_a_covariance(tmp_path, least):
    first = np.full(5, 5**-0.5)
    sigma = 5 * np.eye(5) + (least - 5) * np.outer(first, first)  # least, and four times 5
    assert np.diag(sigma).min() > 0, "the diagonal alone does not show it"
    np.savez(tmp_path / "a.npz", mu=np.zeros(5), sigma=sigma)
    with pytest.raises(UserError, match="eigenvalue -"):
        read_reference_stats(tmp_path / "a.npz")
    few = np.random.default_rng(1).standard_normal((20, 50))  # fewer images than features: eigenvalues of 0
    np.savez(tmp_path / "b.npz", mu=few.mean(0), sigma=np.cov(few, rowvar=False))
    assert read_reference_stats(tmp_path / "b.npz")["fid"].cov.shape == (50, 50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fid": {"mu": np.zeros(3)}}, "wanted `mu` and `sigma`"),
        ({"fid": {"mu": np.zeros(3), "sigma": np.eye(4)}}, r"\(4, 4\), wanted"),
        ({"fid": {"mu": np.zeros(3), "sigma": np.full((3, 3), np.nan)}}, "not finite"),
        ({"fid": {"mu": np.zeros(2), "sigma": np.array([[1.0, 5], [0, 1]])}}, "no covariance"),
        ({"fid": {"mu": np.zeros(2, dtype=np.int64), "sigma": np.eye(2)}}, "arrays of floats"),
        ({"inception": stats()}, "holds no statistics"),
        ([1, 2], "holds no statistics"),
    ],
)
def test_what_the_statistics_must_be(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_reference_stats(write(tmp_path / "bad.pkl", content))


def test_absent_and_of_another_kind(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_reference_stats(tmp_path / "absent.pkl")
    with pytest.raises(UserError, match=r"cut short or damaged|not a readable"):
        read_reference_stats(write(tmp_path / "stats.pt", b"x"))
