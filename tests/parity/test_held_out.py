"""The comparison takes sizes, depths and constants from the file: files of other configurations, made naively here."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import test_parity
import torch
from families import Reference, family_of
from safetensors.torch import save_file
from torch import Tensor

from guidelab.data.toy2d import fractal


def check(path: Path, tensors: dict[str, Tensor], config: dict[str, object]) -> list[str]:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"config": json.dumps(config)})
    reference = Reference.load(path)
    return test_parity.failures(family_of(path)(reference.tensors, reference.config), reference.pinned())


def naive_log_density(state: dict[str, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
    scaled = x / (0.25 + sigma**2).sqrt()[:, None]
    y = torch.cat([scaled, (sigma.log() / 4)[:, None], torch.ones(len(x), 1)], 1)
    weights = [value for name, value in state.items() if name != "gain"]  # first to last
    for i, weight in enumerate(weights):
        if i:
            y = torch.nn.functional.silu(y) / 0.596
        rms = weight.square().mean(1, keepdim=True).sqrt()
        y = y @ (weight / (1e-4 + rms)).T / weight.shape[1] ** 0.5
    return state["gain"] * y.square().mean(1) / sigma - 0.5 * scaled.square().sum(1)


def naive_score(state: dict[str, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
    point = x.clone().requires_grad_(True)
    return torch.autograd.grad(naive_log_density(state, point, sigma).sum(), point)[0]


def naive_trajectory(score, x: Tensor, steps: int) -> Tensor:
    ramp = np.linspace(0, 1, steps)
    sigmas = [*((5 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 5 ** (1 / 7))) ** 7).tolist(), 0.0]
    states = [x]
    for i in range(steps):
        here, there = sigmas[i], sigmas[i + 1]
        first = -here * score(x, torch.full((len(x),), here))
        ahead = x + (there - here) * first
        if there > 0:
            second = -there * score(ahead, torch.full((len(x),), there))
            ahead = x + (there - here) * (first + second) / 2
        x = ahead
        states.append(x)
    return torch.stack(states)


@pytest.mark.parametrize(
    ("widths", "hidden", "steps", "weight"), [((16, 8), 2, 9, "2.5"), ((40, 24), 5, 20, "2")]
)
def test_toy2d_of_another_size(tmp_path: Path, widths, hidden, steps, weight) -> None:
    random = torch.Generator().manual_seed(hidden)
    tensors, states = {}, {}
    for name, width in zip(("net", "gnet"), widths, strict=True):
        state = {"gain": torch.tensor(-0.3)}
        for layer in range(hidden + 1):
            state[f"layers.{2 * layer}.weight"] = torch.randn(width, width if layer else 4, generator=random)
        states[name] = {key: value.half().float() for key, value in state.items()}
        tensors |= {f"param/{name}.{key}": value.half() for key, value in state.items()}
    x, start = torch.randn(50, 2, generator=random), 5 * torch.randn(30, 2, generator=random)
    sigma = torch.randn(50, generator=random).exp()
    tensors |= {"in/x": x, "in/sigma": sigma, "in/x_init": start}
    tensors["out/net_logp"] = naive_log_density(states["net"], x, sigma)
    tensors["out/net_score"] = naive_score(states["net"], x, sigma)
    tensors["out/gnet_score"] = naive_score(states["gnet"], x, sigma)
    tensors["out/logp_A_sigma0.25"] = fractal("A").mixture.to(torch.float64).log_density(x, 0.25).float()

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        return naive_score(states["gnet"], x, sigma).lerp(naive_score(states["net"], x, sigma), float(weight))

    tensors[f"out/trajectory_w{weight}"] = naive_trajectory(guided, start, steps)
    tensors["out/trajectory_gt"] = naive_trajectory(fractal("A").score, start, steps)
    path = tmp_path / "toy2d_other.safetensors"
    assert check(path, tensors, {"num_steps": steps}) == []
    wrong = check(path, tensors, {"num_steps": steps, "sigma_min": 0.004})
    assert {line.split(":")[0] for line in wrong} == {"out/trajectory_gt", f"out/trajectory_w{weight}"}


def test_posthoc_ema_of_other_lengths(tmp_path: Path) -> None:
    from guidelab.core.ema import std_to_gamma  # its inverse is checked by the moments below

    ends = torch.tensor([500.0, 900.0, 900.0, 1500.0]).double()
    stds = torch.tensor([0.12, 0.03, 0.12, 0.2]).double()
    wanted_end, wanted_std = torch.tensor([1500.0, 900.0]).double(), torch.tensor([0.08, 0.15]).double()
    gamma_in, gamma_out = std_to_gamma(stds.numpy()), std_to_gamma(wanted_std.numpy())

    def profile(end: float, gamma: float):
        return lambda t: (gamma + 1) * t**gamma / end ** (gamma + 1)

    def inner(end_a: float, gamma_a: float, end_b: float, gamma_b: float) -> float:
        a, b = profile(end_a, gamma_a), profile(end_b, gamma_b)
        return scipy.integrate.quad(
            lambda t: a(t) * b(t), 0, min(end_a, end_b), epsabs=0, epsrel=1e-13, limit=200
        )[0]

    pairs = list(zip(ends.tolist(), gamma_in.tolist(), strict=True))
    across = [[inner(*p, e, g) for e, g in zip(wanted_end.tolist(), gamma_out, strict=True)] for p in pairs]
    solved = np.linalg.solve([[inner(*p, *q) for q in pairs] for p in pairs], across)
    end, gamma = pairs[3]
    first, second = (
        scipy.integrate.quad(lambda t, p=p: t**p * profile(end, gamma)(t), 0, end)[0] for p in (1, 2)
    )
    assert (second - first**2) ** 0.5 / end == pytest.approx(0.2, rel=1e-6)  # what "relative std" means
    tensors = {
        "in/in_ofs": ends,
        "in/in_std": stds,
        "in/out_ofs": wanted_end,
        "in/out_std": wanted_std,
        "out/coefficients": torch.from_numpy(solved / solved.sum(0)),
        "out/beta_next640_delta64": torch.from_numpy((1 - 64 / 640) ** (gamma_out + 1)),
    }
    assert check(tmp_path / "posthoc_ema_other.safetensors", tensors, {}) == []


def test_metrics_of_another_size(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    fake, real, k = random.normal(size=(90, 7)), 0.2 + 1.1 * random.normal(size=(120, 7)), 5
    fake, real = fake.astype(np.float32), real.astype(np.float32)

    def distances(a, b):
        return np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=-1)

    radius_real, radius_fake = (
        np.sort(distances(a, a), axis=1)[:, k] for a in (real, fake)
    )  # column 0 is itself
    inside = distances(fake, real) <= radius_real
    c1, c2 = np.cov(fake, rowvar=False, dtype=float), np.cov(real, rowvar=False, dtype=float)
    shift = fake.mean(0, dtype=float) - real.mean(0, dtype=float)
    config = {
        "k": k,
        "fid": float(shift @ shift + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)),
        "precision": float(inside.any(1).mean()),
        "recall": float((distances(real, fake) <= radius_fake).any(1).mean()),
        "density": float(inside.sum() / (k * len(fake))),
        "coverage": float(inside.any(0).mean()),
    }
    tensors = {"in/fake": torch.from_numpy(fake), "in/real": torch.from_numpy(real)}
    path = tmp_path / "metrics_other.safetensors"
    assert check(path, tensors, config) == []
    exchanged = {**config, "precision": config["recall"], "recall": config["precision"]}
    assert len(check(path, tensors, exchanged)) == 2


def test_an_empty_folder_and_an_unknown_family_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIDELAB_FIXTURES", str(tmp_path))
    asked: list[object] = []
    metafunc = SimpleNamespace(
        fixturenames=["reference_file"], parametrize=lambda name, files, ids: asked.extend(files)
    )
    test_parity.pytest_generate_tests(metafunc)  # type: ignore[arg-type]
    assert asked == [None]  # one test, and it fails:
    with pytest.raises(pytest.fail.Exception, match=r"holds no \*\.safetensors"):
        test_parity.test_agrees_with_the_reference(None)
    with pytest.raises(pytest.fail.Exception, match="no such family"):
        test_parity.test_agrees_with_the_reference(tmp_path / "mystery.safetensors")
