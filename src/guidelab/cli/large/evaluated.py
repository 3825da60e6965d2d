"""Nets as a sampler calls them: on the device, frozen, in one precision, compiled if asked, told a class or not."""

import copy
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.assemble import Nets
from guidelab.cli.large.machine import DTYPES, effective, precision
from guidelab.core.denoiser import Denoiser, at_step
from guidelab.core.samplers.chain import Variance
from guidelab.errors import UserError
from guidelab.nets import edm_layers
from guidelab.nets.edm2 import Edm2
from guidelab.nets.edm2_lowered import LoweredEdm2

COMPILE = {"": None, "0": None, "1": {}, "graphs": {"mode": "reduce-overhead"}}  # values of GUIDELAB_COMPILE
_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, edm_layers.Linear, edm_layers.Conv)
_INNER = ("transformer", "unet")  # where a net keeps the part that costs


class Marked:
    """A guided denoiser each of whose evaluations is one iteration of the CUDA graphs inside it.

    Outputs of such graphs stay where they are until the next iteration begins, so the main net's is still there when
    the guide's is subtracted from it.
    """

    def __init__(self, predict: Denoiser) -> None:
        self.predict = predict

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """See `Denoiser`."""
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self.predict(x, sigma, cond)

    def at_step(self, sigma: float) -> "Marked":
        """The same around what `predict` is at this step."""
        return Marked(at_step(self.predict, sigma))


def marked(predict: Denoiser) -> Denoiser:
    """`predict`, its evaluations marked as iterations where GUIDELAB_COMPILE=graphs."""
    return Marked(predict) if os.environ.get("GUIDELAB_COMPILE") == "graphs" else predict


class Evaluated:
    """A denoiser in a precision, called with or without the class its sample was given.

    Args:
        net: frozen, in eval mode, on its device.
        name: of the precision its matrix products and convolutions are computed in.
        where: its device.
        labelled: False: the net is asked without a class (the null class of nets that have one).
    """

    def __init__(self, net: Any, name: str, where: torch.device, labelled: bool = True) -> None:
        self.net, self.labelled = net, labelled
        self.image_channels, self.resolution_px = int(net.image_channels), int(net.resolution_px)
        self.classes = int(net.classes)
        # an EDM2 net has a half precision of its own, with float32 where it matters
        self._precision = ("float32" if isinstance(net, Edm2) else name, where)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Denoised `[B, C, H, W]` in float32 or wider."""
        with precision(*self._precision):
            denoised: Tensor = self.net(x, sigma, cond if self.labelled else None)
        return denoised.to(torch.float32) if denoised.dtype.itemsize < 4 else denoised

    @property
    def variance(self) -> Variance:
        """What `ddpm` is given: the variance this net learned, else that of the chain's betas."""
        learned: Variance = getattr(self.net, "variance", "large")
        return self._log_variance if callable(learned) else learned

    def _log_variance(self, x: Tensor, sigma: Tensor, cond: Tensor | None, lo: float, hi: float) -> Tensor:
        """From the evaluation just made, if it was of these very tensors: the net kept it."""
        with precision(*self._precision):
            found: Tensor = self.net.log_variance(x, sigma, cond if self.labelled else None, lo, hi)
        return found

    def levels(self, sigmas: Tensor) -> Tensor:
        """A schedule ending in 0 with every noise level moved to the nearest one the net knows."""
        nearest = getattr(self.net, "round_sigma", None)
        if nearest is None:
            return sigmas
        return torch.cat([nearest(sigmas[:-1].to(self._precision[1])).to(sigmas), sigmas[-1:]])

    @property
    def dropout(self) -> Any:
        """Of the net inside; setting it gives this object a net of its own, which shares all parameters."""
        return self.net.dropout

    @dropout.setter
    def dropout(self, mask: Any) -> None:
        self.net = copy.copy(self.net)
        self.net.dropout = mask


def ready(found: Nets, where: torch.device, name: str, unlabelled: Iterable[str] = ()) -> Nets:
    """Nets of one training seed, ready to be called by a sampler.

    Denoisers get the precision asked for; discriminators and classifiers stay in float32, since their gradients,
    small numbers, are what is wanted of them.

    Args:
        found: loaded on the CPU.
        where: the device they shall work on.
        name: the precision.
        unlabelled: models to be called without a class.
    Raises:
        UserError: GUIDELAB_COMPILE is neither empty, 0, 1 nor graphs.
    """
    lacking = set(unlabelled)
    models: dict[str, Any] = {
        model: Evaluated(
            _compiled(_lowered(net.to(where), name, where)), name, where, labelled=model not in lacking
        )
        for model, net in found.models.items()
    }
    discs = {disc: net.to(where) for disc, net in found.discriminators.items()}
    return Nets(models, discs)


def _lowered(net: nn.Module, name: str, where: torch.device) -> nn.Module:
    """The net with the weights of its products rounded once: autocast would round them at every call."""
    asked = effective(name, where)
    if where.type == "cuda" and not isinstance(net, Edm2):  # which keeps its activations so by itself
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if asked == "float32":
        return net
    if isinstance(net, Edm2):
        return LoweredEdm2.of(net, DTYPES[asked])
    for layer in net.modules():
        if isinstance(layer, _PRODUCTS):
            layer.to(DTYPES[asked])
    return net


def _compiled(net: nn.Module) -> nn.Module:
    chosen = os.environ.get("GUIDELAB_COMPILE", "")
    if chosen not in COMPILE:
        raise UserError(f"GUIDELAB_COMPILE={chosen}: wanted 1, graphs (also CUDA graphs), or nothing")
    options: Mapping[str, Any] | None = COMPILE[chosen]
    if options is None:
        return net
    if isinstance(net, Edm2):
        return net.compiled(dynamic=False, **options)
    part(net).compile(dynamic=False, **options)
    return net


def part(net: nn.Module) -> nn.Module:
    """What of a net is compiled: the network inside, without the few operations that make it a denoiser."""
    found: nn.Module = next((getattr(net, inner) for inner in _INNER if hasattr(net, inner)), net)
    return found
