import pytest
import torch
from exact import data, points

from guidelab.core.degrade import dropout_mask, hashed_normal, hashed_uniform, input_noise
from guidelab.core.degrade.hashed import _splitmix64
from guidelab.core.guidance import Guided, Interval, truncation
from guidelab.core.noise import SeededNoise


def test_draws_are_edm2s():
    # first three and last of 3x16x16 numbers, then a label of 10 from the same generator: the reference's own values
    seeds = [7, 1234567, 50001]
    expected = [
        [-0.8201345205307007, 0.39563116431236267, 0.8989084959030151, 0.08307138830423355],
        [-1.4620221853256226, -0.2823958694934845, 2.4558632373809814, -0.03250282630324364],
        [1.1877166032791138, -1.3460173606872559, -0.23453284800052643, -1.0578370094299316],
    ]
    noise = SeededNoise(seeds)
    drawn = noise.randn((3, 16, 16))
    assert drawn.shape == (3, 3, 16, 16) and drawn.dtype == torch.float32
    assert torch.equal(drawn.flatten(1)[:, [0, 1, 2, -1]], torch.tensor(expected))
    assert noise.randint(10).tolist() == [4, 2, 4]
    assert SeededNoise(seeds).randint(10).tolist() != [4, 2, 4]  # the order of draws matters


def test_seeds_are_taken_modulo_two_to_the_32():
    wrapped, plain = SeededNoise([-1, 2**40 + 3]), SeededNoise([2**32 - 1, 3])
    assert torch.equal(wrapped.randn((5,)), plain.randn((5,)))
    upper, lower = SeededNoise([2**31 + 3]).randn((5,)), SeededNoise([3]).randn((5,))
    assert not torch.equal(upper, lower)  # and no smaller power


def test_rows_do_not_depend_on_the_batch_and_draws_differ():
    together, alone = SeededNoise(range(10)), SeededNoise([7])
    first, second = together.randn((3,)), together.randn((3,))
    assert torch.equal(first[7:8], alone.randn((3,))) and torch.equal(second[7:8], alone.randn((3,)))
    assert not torch.equal(first, second)
    x = torch.empty(10, 4, 2, dtype=torch.float64)
    like = together.randn_like(x)
    assert like.shape == x.shape and like.dtype == torch.float64


def test_hashed_numbers_are_uniform_and_independent():
    seeds, sigma = torch.arange(400), torch.full((400,), 0.3)
    u = hashed_uniform(seeds, sigma, (16, 16), salt=0)
    assert u.shape == (400, 16, 16) and u.dtype == torch.float32
    assert u.min() > 0 and u.max() < 1 and u.unique().numel() > 0.98 * u.numel()
    counts = torch.histc(u, bins=64, min=0, max=1)
    expected = u.numel() / 64
    chi2 = ((counts - expected) ** 2 / expected).sum().item()
    assert 30 < chi2 < 110  # 63 degrees of freedom

    def correlation(a, b):
        return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs().item()

    bound = 4 / u.numel() ** 0.5
    assert correlation(u, hashed_uniform(seeds, sigma, (16, 16), salt=1)) < bound
    assert correlation(u, hashed_uniform(seeds, sigma * 1.01, (16, 16), salt=0)) < bound
    assert correlation(u[1:], u[:-1]) < bound  # neighbouring seeds
    assert correlation(u[:, 1:], u[:, :-1]) < bound  # neighbouring elements


def test_hashed_normal_has_normal_moments():
    n = hashed_normal(torch.arange(1000), torch.full((1000,), 2.0), (100,), salt=5)
    assert n.mean().item() == pytest.approx(0, abs=0.013)
    assert n.var().item() == pytest.approx(1, abs=0.02)
    assert (n**4).mean().item() == pytest.approx(3, abs=0.13)


def test_hashed_numbers_are_a_function_of_seed_sigma_and_salt_alone():
    seeds = torch.tensor([3, 2**40, -7, 0])
    sigma = torch.tensor([0.1, 5.0, 0.002, 80.0], dtype=torch.float64)
    all_rows = hashed_uniform(seeds, sigma, (4,), salt=9)
    rows = torch.cat(
        [hashed_uniform(seeds[i : i + 1], sigma[i : i + 1].float(), (4,), salt=9) for i in (3, 2, 1, 0)]
    )
    assert torch.equal(all_rows, rows.flip(0))  # any batch, and either precision of the sampler
    assert torch.equal(all_rows[:, :2], hashed_uniform(seeds, sigma, (2,), salt=9))


def test_dropout_mask_keeps_the_mean():
    mask = dropout_mask(torch.arange(2000), torch.full((2000,), 1.0), (50,), 0.1, salt=0)
    assert sorted(mask.unique().tolist()) == pytest.approx([0.0, 1 / 0.9])
    assert (mask == 0).float().mean().item() == pytest.approx(0.1, abs=0.004)
    assert torch.equal(dropout_mask(torch.arange(3), torch.ones(3), (5,), 0.0, salt=0), torch.ones(3, 5))
    with pytest.raises(ValueError, match="p=1"):
        dropout_mask(torch.arange(3), torch.ones(3), (5,), 1.0, salt=0)


def test_input_noise_raises_the_noise_level_and_conditions_the_net_on_it():
    seen = []

    def net(x, sigma, cond):
        seen.append((x, sigma))
        return x

    count = 20_000
    x, sigma = torch.zeros(count, 2), torch.full((count,), 2.0)
    degraded = input_noise(net, torch.arange(count), 0.1, salt=1)
    first, second = degraded(x, sigma, None), degraded(x, sigma, None)
    assert torch.equal(first, second)  # a function, not a draw
    assert seen[0][1].tolist()[:2] == pytest.approx([2.2, 2.2])
    assert seen[0][0].var().item() == pytest.approx(2.2**2 - 2.0**2, rel=0.03)
    assert torch.equal(x, torch.zeros(count, 2))
    with pytest.raises(ValueError, match=r"relative=-0\.1"):
        input_noise(net, torch.arange(3), -0.1, salt=0)


def test_input_noise_of_zero_is_the_net_and_batches_do_not_matter():
    x, sigma = points(8)
    seeds = torch.arange(100, 108)
    assert torch.equal(input_noise(data(), seeds, 0.0, salt=1)(x, sigma, None), data()(x, sigma))
    together = input_noise(data(), seeds, 0.2, salt=1)(x, sigma, None)
    alone = input_noise(data(), seeds[5:6], 0.2, salt=1)(x[5:6], sigma[5:6], None)
    torch.testing.assert_close(together[5:6], alone, rtol=0, atol=1e-13)
    assert (together - data()(x, sigma)).abs().max() > 1e-3


def test_input_noise_resolves_the_interval_inside():
    x, sigma = points(4)
    inner = Guided(data(), [Interval(truncation(2.0), 0.0, 1.0)])
    degraded = input_noise(inner, torch.arange(4), 0.0, salt=0)
    torch.testing.assert_close(degraded.at_step(3.0)(x, sigma, None), data()(x, sigma), rtol=0, atol=1e-13)
    assert (degraded.at_step(0.5)(x, sigma, None) - data()(x, sigma)).abs().max() > 0.01


def test_the_hash_is_splitmix64():
    """The first outputs of splitmix64 started at 1234567 (Steele, Lea & Flood 2014; published test vector)."""
    golden = 0x9E3779B97F4A7C15
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    state = 1234567
    for value in wanted:
        signed = state - (1 << 64) if state >= 1 << 63 else state
        assert int(_splitmix64(torch.tensor([signed]))) % (1 << 64) == value
        state = (state + golden) % (1 << 64)
