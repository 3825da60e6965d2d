"""What benchmarks/gpu_throughput.py measures: each case builds its sides, which do the same arithmetic on one input."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from gpu_plain import PlainDit, PlainEdm2, PlainTraining, autocast, plain_adm, plain_heun, plain_steps
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from guidelab.compute.inference import graph_steps, inference_models
from guidelab.compute.precision import DTYPES
from guidelab.core.chain import respaced, schedule_of
from guidelab.core.guidance import Guided, Reference
from guidelab.core.samplers.chain import ddpm
from guidelab.core.samplers.heun import heun
from guidelab.core.schedules import edm_sigmas
from guidelab.nets.adm import Adm
from guidelab.nets.dit import Dit
from guidelab.nets.edm2 import Edm2
from guidelab.train.distributed import TrainingGroup
from guidelab.train.loader import Batch
from guidelab.train.objectives import Objective, Recipe
from guidelab.train.step import Trainer

HOW = {
    "": "",
    "1": ", compiled",
    "graphs": ", compiled, CUDA graphs",
}  # GUIDELAB_COMPILE, and what a side is called
STEPS = 32  # of Heun's sampler: 63 evaluations
CHAIN, TIMED = 250, 5  # steps of the chain, and how many are timed: all cost the same
TOY: dict[str, dict[str, Any]] = {
    "edm2": {"blocks": 1, "head_channels": 16},
    "dit": {"resolution_px": 8, "classes": 4, "width": 32, "depth": 2, "heads": 2},
    "adm": {"channels": 32, "channel_mult": (1, 2), "blocks": 1, "attention_px": (8,), "head_channels": 16},
}


@dataclass(frozen=True)
class Setting:
    """Where, how large and how precisely: `tiny` is for trying the code out; `batch` None takes each case's own."""

    where: torch.device
    tiny: bool
    batch: int | None
    precision: str

    @property
    def precisions(self) -> list[str]:
        """Of the plain side: float32, and that of ours."""
        return list(dict.fromkeys(("float32", self.precision)))

    @property
    def hows(self) -> list[str]:
        """Ways to evaluate our nets; toys are not compiled, which would take minutes."""
        return [""] if self.tiny else list(HOW)

    def images(self, own: int) -> int:
        """Images of one call."""
        return 2 if self.tiny else self.batch or own


@dataclass
class Case:
    """The same work, done by several sides.

    Attributes:
        title: what is done.
        images: of one call.
        flop: floating-point operations of one image, whole.
        part: share of the whole that one call does (steps of a chain that are timed).
        sides: name to precision and a function that does it, which returns a tensor to compare.
    """

    title: str
    images: int
    flop: float
    part: float = 1.0
    sides: dict[str, tuple[str, Callable[[], Tensor]]] = field(default_factory=dict)


def randomised(net: Any) -> Any:
    """Weights that silence no part of a net; frozen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("_gain"):
                p.fill_(0.5)
            elif not p.any():
                p.normal_(0, 0.02, generator=generator)
    return net.requires_grad_(False).eval()


def counted(call: Callable[[], Any]) -> float:
    """Floating-point operations of a call, two for a multiplication and an addition."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def sampled(case: Case, s: Setting, build: Callable[[], dict[str, Any]], call: Callable[..., Tensor]) -> None:
    """Our sides of a sampling case: `call(predict)` with the nets guided as the sampling job has them."""
    for how in s.hows:
        os.environ["GUIDELAB_COMPILE"] = how
        nets = inference_models(build(), s.where, s.precision, ("null",))
        terms = [Reference(nets[name], 2.0) for name in nets if name != "main"]  # type: ignore[arg-type]
        predict = graph_steps(Guided(nets["main"], terms))  # type: ignore[arg-type]
        os.environ.pop("GUIDELAB_COMPILE")  # all that looks at it has been called
        name = f"ours, {s.precision}{HOW[how]}"
        case.sides[name] = (s.precision, lambda predict=predict: call(predict))


def edm2_sampling(s: Setting) -> Case:
    """EDM2-S guided by EDM2-XS: latents of 512 px images, Heun's sampler."""
    widths, more = ((16, 32), TOY["edm2"]) if s.tiny else ((192, 128), {})
    px, classes, n = (16, 10, 2) if s.tiny else (64, 1000, s.images(64))

    def build() -> dict[str, Any]:
        found = {}
        for name, width in zip(("main", "ref"), widths, strict=True):
            generator = torch.Generator().manual_seed(width)
            found[name] = randomised(Edm2(px, 4, classes, width, generator=generator, **more))
        return found

    generator = torch.Generator().manual_seed(0)
    levels = edm_sigmas(3 if s.tiny else STEPS, 0.002, 80.0, 7.0).tolist()
    x = (torch.randn(n, 4, px, px, generator=generator) * levels[0]).to(s.where)
    cond = torch.randint(classes, (n,), generator=generator).to(s.where)
    plain = [PlainEdm2(net.to(s.where), more.get("head_channels", 64)) for net in build().values()]
    once = sum(counted(lambda net=net: net(x[:1], x.new_ones(1), cond[:1])) for net in plain)
    title = f"EDM2 {'toys' if s.tiny else 'S + XS'}, autoguidance, {len(levels) - 1} Heun steps"
    case = Case(title, n, once * (2 * len(levels) - 3))
    for name in s.precisions:
        pair = [autocast(net, DTYPES[name] if name != "float32" else None) for net in plain]
        case.sides[f"plain, {name}"] = (
            name,
            lambda pair=pair: plain_heun(*pair, 2.0, x, cond, levels),
        )
    sampled(case, s, build, lambda predict: heun(predict, x, levels, cond))
    return case


def dit_sampling(s: Setting) -> Case:
    """DiT-XL/2 with classifier-free guidance: latents of 256 px images, DDPM's chain."""
    generator = torch.Generator().manual_seed(0)
    state = randomised(Dit(generator=generator, **(TOY["dit"] if s.tiny else {}))).state_dict()

    def build() -> dict[str, Any]:
        found = {}
        for name in ("main", "null"):
            net = Dit(**(TOY["dit"] if s.tiny else {}))
            net.load_state_dict(state)
            found[name] = net.requires_grad_(False).eval()
        return found

    return _chain(s, "DiT-XL/2, classifier-free guidance", s.images(32), build, PlainDit)


def adm_sampling(s: Setting) -> Case:
    """ADM at 256 px, unguided: DDPM's chain."""

    def build() -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)
        sizes: dict[str, Any] = {"resolution_px": 16, "classes": 4, **TOY["adm"]}
        sizes = sizes if s.tiny else {"resolution_px": 256, "classes": 1000}
        return {"main": randomised(Adm(image_channels=3, generator=generator, **sizes))}

    return _chain(s, "ADM, 256 px", s.images(16), build, plain_adm)


def _chain(
    s: Setting, title: str, n: int, build: Callable[[], dict[str, Any]], plain_of: Callable[[Any], Any]
) -> Case:
    timed, whole = (2, 2) if s.tiny else (TIMED, CHAIN)
    chain = respaced(schedule_of("linear"), timed)
    nets = build()
    main, guided = nets["main"].to(s.where), len(nets) > 1
    generator = torch.Generator().manual_seed(0)
    event = n, main.image_channels, main.resolution_px, main.resolution_px
    x = torch.randn(event, generator=generator).to(s.where)
    noises = [torch.randn(event, generator=generator).to(s.where) for _ in range(timed)]
    cond = torch.randint(main.classes, (n,), generator=generator).to(s.where)
    plain = plain_of(main)
    once = counted(lambda: autocast(plain, None)(x[:1], x.new_ones(1), cond[:1]))
    title = f"{'toy of ' if s.tiny else ''}{title}, {whole} steps"
    case = Case(title, n, once * len(nets) * whole, timed / whole)
    for name in s.precisions:
        one = autocast(plain, DTYPES[name] if name != "float32" else None)
        ref = one if guided else None
        case.sides[f"plain, {name}"] = (
            name,
            lambda one=one, ref=ref: plain_steps(one, ref, 2.0, x, cond, chain, noises),
        )
    how: dict[str, Any] = {"variance": "large", "noise": noises.__getitem__}
    sampled(case, s, build, lambda predict: ddpm(predict, x, chain, cond, **how))
    return case


class Repeated:
    """A loader that gives one batch again and again: reading data is not what is measured."""

    seed = 0

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def examples(self, iteration: int, rows: range) -> Batch:
        return self.batch


def edm2_training(s: Setting) -> Case:
    """One training step of EDM2-XS on latents: gradient, Adam, two averages. Compared are the first losses."""
    width, more = (16, TOY["edm2"]) if s.tiny else (128, {})
    px, classes, n = (16, 10, 2) if s.tiny else (64, 1000, s.images(128))

    def build() -> Edm2:
        net = randomised(Edm2(px, 4, classes, width, generator=torch.Generator().manual_seed(0), **more))
        return net.requires_grad_(True).to(s.where)  # type: ignore[no-any-return]

    generator = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn(n, 4, px, px, generator=generator) for _ in range(2))
    batch = Batch(x0 * 0.5, noise, (torch.randn(n, generator=generator) - 0.4).exp(),
                  torch.randint(classes, (n,), generator=generator), None)  # fmt: skip
    config = {
        "batch": n,
        "lr": 1e-4,
        "decay_nimg": 10**9,
        "rampup_nimg": None,
        "ema_stds": [0.05, 0.10],
        "net": {},
    }
    here = batch.to(s.where)[:4]
    heads = more.get("head_channels", 64)
    flop = counted(lambda: PlainTraining(build(), None, 0.0, heads).step(*(part[:1] for part in here)))
    case = Case(f"EDM2 {'toy' if s.tiny else 'XS'}, one training step", n, flop)
    for name in s.precisions:
        half = DTYPES[name] if name != "float32" else None
        trained = PlainTraining(build(), half, 1e-4, heads)
        case.sides[f"plain, {name}"] = (name, lambda trained=trained: trained.step(*here))
    for how in [h for h in s.hows if h != "graphs"]:
        net = build().train()
        objective = Objective(net, Recipe("edm2", s.precision, 0.0), 0.5)
        group = TrainingGroup(device=s.where)
        loop = Trainer(net, Repeated(batch), config, objective, group, compile=bool(how), workers=1)  # type: ignore[arg-type]
        case.sides[f"ours, {s.precision}{HOW[how]}"] = (
            s.precision,
            lambda loop=loop: loop.step(loop.live, 0)[1],
        )
    return case


CASES: dict[str, Callable[[Setting], Case]] = {
    "edm2": edm2_sampling,
    "train": edm2_training,
    "dit": dit_sampling,
    "adm": adm_sampling,
}
