"""Requirements of a GPU that a CPU can check: no waiting in the loop, one device, unbroken graphs, half precision."""

import contextlib

import pytest
import torch
from sampling_jobs import (
    CFG,
    DDIM,
    DEGRADED,
    DG,
    DIT,
    DIT_CFG,
    EDM2,
    HEUN,
    dit_job,
    edm2,
    job,
    randomised,
)
from torch.utils._python_dispatch import TorchDispatchMode

from guidelab.assemble import load_nets
from guidelab.compute import inference
from guidelab.compute import precision as arithmetic
from guidelab.compute.device import device
from guidelab.compute.feed import Feed
from guidelab.compute.inference import InferenceModel, graph_steps, inference_models
from guidelab.compute.precision import effective, precision, settle
from guidelab.compute.processes import ProcessGroup, process_group
from guidelab.core.noise import SeededNoise
from guidelab.errors import UserError
from guidelab.nets.adm import Adm
from guidelab.nets.dit import Dit
from guidelab.nets.edm import Edm
from guidelab.nets.edm2 import Edm2
from guidelab.nets.edm2_lowered import LoweredEdm2
from guidelab.sampling.codecs import Points
from guidelab.sampling.draw import drawing

CPU = torch.device("cpu")
EDM = {"resolution_px": 8, "image_channels": 3, "classes": 4, "architecture": "adm", "precond": "edm", "channels": 32,
       "channel_mult": [1], "blocks": 1, "attention_px": [8]}  # fmt: skip
ADM = {"resolution_px": 8, "image_channels": 3, "classes": 4, "channels": 32, "channel_mult": (1,), "blocks": 1,
       "attention_px": (8,), "head_channels": 16}  # fmt: skip
CASES = {
    "heun": lambda f: job(f, CFG),
    "heun dg": lambda f: job(f, [*CFG, *DG], HEUN | {"dtype": "float64"}),
    "heun degraded": lambda f: job(f, CFG, degrade=DEGRADED),
    "heun interval": lambda f: job(f, [CFG[0] | {"sigma_lo": 0.1, "sigma_hi": 2.0}]),
    "ddpm": lambda f: dit_job(f),
    "ddpm clip": lambda f: dit_job(f, sampler=DDIM | {"name": "ddpm", "clip": True}),
    "ddim": lambda f: dit_job(f, DIT_CFG, DDIM),
}  # fmt: skip
WAITS = ("_local_scalar_dense", "nonzero", "equal", "_unique2", "masked_select", "is_nonzero", "item")
READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GUIDELAB_DEVICE", "GUIDELAB_COMPILE"):
        monkeypatch.delenv(name, raising=False)


class Waits(TorchDispatchMode):
    """Refuses every operation whose result or shape the host must read."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in WAITS:
            raise AssertionError(f"the host waits for the device: {func}")
        picked = args[1] if func.overloadpacket.__name__ in ("index", "index_put_") else ()
        if any(i is not None and i.dtype == torch.bool for i in picked):
            raise AssertionError(f"the host waits for the device: {func} with a mask")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def no_waiting(monkeypatch):
    def refused(name):
        def read(self, *args, **kwargs):
            raise AssertionError(f"the host waits for the device: Tensor.{name}")

        return read

    with monkeypatch.context() as patched, Waits():
        for name in READS:
            patched.setattr(torch.Tensor, name, refused(name))
        yield


def sampler(found, where=CPU):
    return drawing(found, load_nets(found["inputs"], 0, found["discs"]), where, Points())


def solved(found, where=CPU, n=3):
    made = sampler(found, where)
    noise = SeededNoise(range(n))
    start = noise.randn(made.main.event)
    cond = noise.randint(4)
    if found["sampler"]["name"] != "heun":
        assert len(made.sampler.chain.transitions) == 8  # the table of numbers, made once from the CPU's
    return made, (torch.arange(n), start, cond, noise)


@pytest.mark.parametrize("case", CASES)
def test_the_host_reads_nothing_from_the_device_in_the_loop(small_nets, case, monkeypatch):
    made, given = solved(CASES[case](small_nets))
    with no_waiting(monkeypatch):
        images = made.solve(*given)
    assert images.isfinite().all()


def test_waiting_is_noticed(monkeypatch):
    x = torch.ones(3)
    for wait in (lambda: x.sum().item(), lambda: bool(x[0] > 0), lambda: x[x > 0], lambda: x.cpu()):
        with pytest.raises(AssertionError, match="the host waits"), no_waiting(monkeypatch):
            wait()


@pytest.mark.parametrize("case", CASES)
def test_everything_in_the_loop_is_on_the_device(small_nets, case):
    """On the meta device reading a value fails, and so does an operation with a tensor left on the CPU."""
    made, given = solved(CASES[case](small_nets) | {"precision": "float32"}, torch.device("meta"))
    images = made.solve(*given)
    assert images.device.type == "meta" and images.shape == given[1].shape


def dit(seed=0):
    return randomised(Dit(**DIT), seed)


def edm(seed=0):
    return randomised(Edm(**EDM, generator=torch.Generator().manual_seed(seed)), seed, 0.05)


def adm(seed=0):
    return randomised(Adm(**ADM), seed, 0.05)


def batch(net, n=3):
    generator = torch.Generator().manual_seed(5)
    sigma = torch.tensor([0.05, 0.7, 20.0])[:n]
    x = torch.randn(n, getattr(net, "net", net).image_channels, 8, 8, generator=generator) * (
        0.5 + sigma[:, None, None, None]
    )
    return x, sigma, torch.tensor([0, 3, 1])[:n]


@pytest.mark.parametrize("make", [dit, edm, adm], ids=["dit", "edm", "adm"])
def test_the_part_that_costs_is_one_graph(make):
    """Compiled without a single break, with the same answers."""
    net = make()
    inner = inference.part(net)
    ways = [batch(net), (*batch(net)[:2], None)][: 1 if make is adm else 2]  # ADM wants its class
    expected = [net(*given) for given in ways]
    inner.compile(fullgraph=True, backend="eager", dynamic=False)
    with torch.no_grad():
        found = [net(*given) for given in ways]
    for now, before in zip(found, expected, strict=True):
        assert torch.allclose(now, before, atol=1e-5 * float(before.abs().max()))


def test_edm2_in_half_precision_is_one_graph():
    net = LoweredEdm2.of(edm2(0), torch.bfloat16)
    fast = net.compiled(fullgraph=True, backend="aot_eager", dynamic=False)
    fast._compiled.net = type(
        "Elsewhere", (), {"training": True}
    )()  # the route a GPU takes: weights are inputs
    with torch.no_grad():
        assert torch.allclose(fast(*batch(net)), net(*batch(net)), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_edm2_in_half_precision_differs_by_rounding(dtype):
    net = edm2(0)
    low = LoweredEdm2.of(net, dtype)
    exact, near = net(*batch(net)), low(*batch(net))
    error = float((near - exact).norm() / exact.norm())
    limit = {torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    assert near.dtype == torch.float32 and 0 < error < limit
    assert all(a is b for a, b in zip(net.parameters(), low.parameters(), strict=True))
    assert low._weights().first.dtype == dtype and low._weights().noise.dtype == torch.float32
    assert torch.equal(net(*batch(net)), exact)  # the net it was made from is as before


@pytest.mark.parametrize("make", [dit, edm, adm], ids=["dit", "edm", "adm"])
def test_other_nets_in_half_precision_differ_by_rounding(make, monkeypatch):
    for module in (arithmetic, inference):
        monkeypatch.setattr(module, "effective", lambda name, where: name)
    exact = make()(*batch(make()))
    low = inference_models({"main": make()}, CPU, "bfloat16")["main"]
    near = low(*batch(low))
    error = float((near - exact).norm() / exact.norm())
    assert near.dtype == torch.float32 and 0 < error < 3e-2
    assert any(p.dtype == torch.bfloat16 for p in low.net.parameters())


def test_degrading_one_use_of_a_net_leaves_the_others_alone():
    import copy

    plain = InferenceModel(edm2(0), "float32", CPU)
    masked = copy.copy(plain)
    masked.dropout = lambda block, sigma, shape: torch.zeros(shape)
    assert not callable(plain.dropout) and not torch.equal(plain(*batch(plain)), masked(*batch(plain)))


def test_compilation_is_chosen_by_environment_variable(monkeypatch):
    nets = {"main": edm2(0), "dit": dit()}
    monkeypatch.setenv("GUIDELAB_COMPILE", "1")
    found = inference_models(nets, CPU, "float32")
    assert (
        found["main"].net._compiled is not None
        and found["dit"].net.transformer._compiled_call_impl is not None
    )
    assert graph_steps(found["main"]) is found["main"]
    monkeypatch.setenv("GUIDELAB_COMPILE", "graphs")
    assert graph_steps(found["main"]) is not found["main"]
    monkeypatch.setenv("GUIDELAB_COMPILE", "yes")
    with pytest.raises(UserError, match="GUIDELAB_COMPILE=yes: wanted 1, graphs"):
        inference_models(nets, CPU, "float32")


def test_where_a_process_computes(monkeypatch):
    two = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert (
        process_group({}) == ProcessGroup()
        and process_group(two) == ProcessGroup(5, 8, 1)
        and not process_group(two).leader
    )
    with pytest.raises(UserError, match="'RANK' is not set"):
        process_group({"WORLD_SIZE": "8"})
    with pytest.raises(UserError, match="RANK is 9, wanted 0 to 7"):
        process_group(two | {"RANK": "9"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device({}) == CPU and device({"GUIDELAB_DEVICE": "meta"}).type == "meta"
    with pytest.raises(UserError, match="wants GPU 0, but this machine has 0"):
        device({"GUIDELAB_DEVICE": "cuda"})
    with pytest.raises(UserError, match="GUIDELAB_DEVICE=gpu: is no device"):
        device({"GUIDELAB_DEVICE": "gpu"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device(two) == torch.device("cuda", 1) and device({}) == torch.device("cuda", 0)
    assert device({"GUIDELAB_DEVICE": "cpu"}) == CPU
    with pytest.raises(UserError, match="process 3 of this machine: wants GPU 3, but this machine has 2"):
        device(two | {"LOCAL_RANK": "3"})


def test_precision_and_arithmetic_are_stated():
    assert (
        effective("float16", CPU) == "float32" and effective("bfloat16", torch.device("cuda")) == "bfloat16"
    )
    assert isinstance(precision("bfloat16", CPU), contextlib.nullcontext)
    with pytest.raises(ValueError, match="precision 'fp8'"):
        precision("fp8", CPU)
    torch.backends.cuda.matmul.allow_tf32 = True
    settle(CPU)
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32


def test_noise_is_fed_in_order():
    noise = SeededNoise([1, 2])
    feed = Feed(lambda step: noise.randn((2,)), CPU)
    again = SeededNoise([1, 2])
    assert all(torch.equal(feed(step), again.randn((2,))) for step in range(12))


# ---- with a GPU --------------------------------------------------------------------------------------------

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.cuda
@gpu
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_draws_the_same_samples_without_a_wait(small_nets, case):
    found, where = CASES[case](small_nets) | {"precision": "float32"}, torch.device("cuda", 0)
    settle(where)
    made, given = solved(found, where)
    made.solve(*given)  # tables and kernels are made
    made, given = solved(found, where)
    torch.cuda.set_sync_debug_mode("error")
    try:
        images = made.solve(*given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    plain, beside = solved(found)
    expected = plain.solve(*beside)
    assert torch.allclose(images.cpu(), expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))


@pytest.mark.cuda
@gpu
@pytest.mark.parametrize("how", ["", "1", "graphs"])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", ["heun", "ddpm"])
def test_a_gpu_in_half_precision_stays_near(small_nets, case, name, how, monkeypatch):
    found, where = CASES[case](small_nets), torch.device("cuda", 0)
    expected = sampler(found)(0, 5)[0]
    monkeypatch.setenv("GUIDELAB_COMPILE", how)
    settle(where)
    images = sampler(found | {"precision": name}, where)(0, 5)[0]
    assert float((images - expected).norm() / expected.norm()) < 0.1


def test_sizes_are_those_of_the_job():
    net = InferenceModel(Edm2(classes=4, **EDM2), "float32", CPU)
    assert (net.event, net.classes, net.variance) == ((3, 8, 8), 4, "large")
