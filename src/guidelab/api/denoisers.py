"""Make denoisers `D(x, sigma, cond)` from a caller's nets, files, or registered nets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guidelab.api.arguments import device_of
from guidelab.assemble import load_net
from guidelab.core.chain import Schedule, schedule_of
from guidelab.core.denoiser import at_step, per_sample
from guidelab.core.precond import precondition
from guidelab.nets.build import build
from guidelab.nets.vp import VpNet
from guidelab.registry import NETS

Predicts = Literal["denoised", "edm", "epsilon", "v"]
Evaluated = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Net:
    """A denoiser, with the shape of what it denoises.

    Attributes:
        predict: `(x [B, *shape], sigma [B], cond [B] int64 or None) -> [B, *shape]`.
        shape: of one sample: `(C, H, W)` of images or latents, `(2,)` of points in the plane.
        classes: how many it knows; 0 without any.
    """

    predict: Evaluated
    shape: tuple[int, ...]
    classes: int = 0

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Denoised `[B, *shape]` at `x [B, *shape]`, noise levels `sigma [B]`, classes `cond [B]` int64 or None."""
        return self.predict(x, sigma, cond)

    def at_step(self, sigma: float) -> "Net":
        """The same around what `predict` is during the sampler step that starts at `sigma`."""
        return Net(at_step(self.predict, sigma), self.shape, self.classes)


def denoiser(
    net: Evaluated,
    shape: Sequence[int],
    classes: int = 0,
    *,
    predicts: Predicts = "denoised",
    schedule: str | Tensor = "linear",
    sigma_data: float = 0.5,
) -> Net:
    """A denoiser of any function or module, in eval mode and on its device.

    Args:
        net: called with `(x, sigma, cond)`; with `predicts="edm"` as EDM's raw network, `(c_in x, c_noise, cond)`; with
            `epsilon` and `v` as a network of discrete time, `(x_vp, t, cond)`, where `x_vp` has unit variance and `t [B]`
            is floating, whole at the schedule's own levels. More output channels than `shape[0]` are dropped.
        shape: of one sample, `(C, H, W)`; without a schedule any.
        classes: how many classes it knows.
        predicts: the denoised sample; EDM's network output; the noise; or the velocity `v`.
        schedule: of discrete time: `linear` or `cosine` in 1,000 steps, or the products of alphas `[steps]`.
        sigma_data: standard deviation of the data, with `edm`.
    Raises:
        ValueError: another word in `predicts`, or a schedule that does not fall.
    Source: EDM, Karras et al. 2022, arXiv:2206.00364; `v`, Salimans & Ho 2022, arXiv:2202.00512.
    """
    event = tuple(int(size) for size in shape)
    if predicts == "denoised":
        return Net(net, event, classes)
    if predicts == "edm":
        return Net(precondition(net, sigma_data), event, classes)
    if predicts not in ("epsilon", "v"):
        raise ValueError(f"denoiser: predicts {predicts!r}, wanted denoised, edm, epsilon or v")
    levels = schedule_of(schedule) if isinstance(schedule, str) else _Given(schedule)
    return Net(_Discrete(net, event, classes, levels, predicts), event, classes)


def load_denoiser(path: str | Path, *, train_seed: int | None = None, device: str = "cpu") -> Net:
    """The denoiser in a file: a pickle of EDM or EDM2, a `.pt` of ADM or DiT, or a `.safetensors` of guidelab.

    Nothing in the file is run. Weights are float32.

    Args:
        path: the file.
        train_seed: of a file of guidelab with several trainings; its first one by default.
        device: where the net is put.
    Raises:
        UserError: absent, broken, hostile, or no denoiser of images; or no such device.
    """
    from guidelab.study.nets import OURS, common_seed, read_net

    where, found = device_of("load_denoiser", device), read_net(Path(path))
    if found.format == OURS:
        net = load_net(path, common_seed([found], train_seed)).to(where)
    else:
        net = build_net(**found.config)
        net.load_state_dict({name: value.to(torch.float32) for name, value in found.tensors.items()})
        net.to(where).eval().requires_grad_(False)
    channels, side = found.event
    return Net(net, (channels, side, side), found.classes)


def build_net(name: str, *, seed: int | None = None, **arguments: Any) -> nn.Module:
    """An untrained net by its name in params.yaml: `edm2`, `edm`, `adm`, `dit`, `small_discriminator`, `toy_discriminator`, ...

    Args:
        name: of a registered net, or `plugins.FILE:CLASS`.
        seed: of the first weights; None: torch's global generator.
        arguments: of its constructor.
    Raises:
        UserError: no such net, or arguments that do not fit it; names the closest.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return build(NETS.load(name), name, arguments, generator)


class _Given(Schedule):
    """A schedule by its products of alphas, as diffusers keeps them."""

    def __init__(self, alphas_cumprod: Tensor) -> None:
        alphas = alphas_cumprod.detach().to("cpu", torch.float64)
        if (
            alphas.ndim != 1
            or len(alphas) < 2
            or not bool((alphas.diff() < 0).all())
            or not 0 < alphas[-1] <= 1
        ):
            raise ValueError(
                f"denoiser: a schedule of shape {tuple(alphas.shape)}; wanted products of alphas [steps], falling, above 0"
            )
        self.name, self.steps = "given", len(alphas)
        self.betas = 1 - alphas / torch.cat([alphas.new_ones(1), alphas[:-1]])
        self.alphas_cumprod = alphas
        self.sigmas = ((1 - alphas) / alphas).sqrt()
        self._tables = {self.sigmas.device: self.sigmas.log()}


class _Discrete(VpNet):
    """A network of discrete time that predicts noise or velocity."""

    def __init__(
        self, net: Evaluated, shape: tuple[int, ...], classes: int, schedule: Schedule, predicts: Predicts
    ) -> None:
        if len(shape) != 3:
            raise ValueError(f"denoiser: predicts {predicts!r} of shape {shape}, wanted (C, H, W)")
        super().__init__(shape[-1], shape[0], classes, False, "linear")
        self.schedule, self.net, self.predicts = schedule, net, predicts
        self.sigma_range = float(schedule.sigmas[0]), float(schedule.sigmas[-1])  # samplers stay inside it

    def raw(self, x_vp: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        """See `VpNet.raw`; `eps = alpha v + s x_vp`."""
        out = self.net(x_vp, steps, cond)[:, : self.image_channels]
        if self.predicts == "epsilon":
            return out
        sigma = per_sample(self.schedule.sigma_of(steps), x_vp)
        return (out + sigma * x_vp) / torch.sqrt(1 + sigma**2)
