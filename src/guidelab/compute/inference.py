"""Inference wrapper of nets: device, precision, compilation, class conditioning."""

import copy
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from guidelab.compute.precision import DTYPES, effective, precision
from guidelab.core.denoiser import Denoiser, at_step
from guidelab.errors import UserError

if TYPE_CHECKING:
    from guidelab.core.samplers.chain import Variance

COMPILE = {"": None, "0": None, "1": {}, "graphs": {"mode": "reduce-overhead"}}  # values of GUIDELAB_COMPILE
_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
_INNER = ("transformer", "unet")  # where a net keeps the part that costs


class CudaGraphStep:
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

    def at_step(self, sigma: float) -> "CudaGraphStep":
        """The same around what `predict` is at this step."""
        return CudaGraphStep(at_step(self.predict, sigma))


def graph_steps(predict: Denoiser) -> Denoiser:
    """`predict`, each of whose evaluations is one iteration of CUDA graphs where GUIDELAB_COMPILE=graphs."""
    return CudaGraphStep(predict) if os.environ.get("GUIDELAB_COMPILE") == "graphs" else predict


class InferenceModel:
    """A denoiser in a precision, called with or without the class of the sample.

    Args:
        net: frozen, in eval mode, on its device.
        name: of the precision its matrix products and convolutions are computed in.
        where: its device.
        labelled: False: the net is called without a class (the null class of nets that have one).
    """

    def __init__(self, net: Any, name: str, where: torch.device, labelled: bool = True) -> None:
        self.net, self.labelled = net, labelled
        # an EDM2 net has a half precision of its own, with float32 where it matters
        self._precision = ("float32" if hasattr(net, "in_half") else name, where)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Denoised `[B, *event]` in float32 or wider."""
        with precision(*self._precision):
            denoised: Tensor = self.net(x, sigma, cond if self.labelled else None)
        return denoised.to(torch.float32) if denoised.dtype.itemsize < 4 else denoised

    @property
    def event(self) -> tuple[int, int, int]:
        """Channels, height and width of the images or latents it denoises."""
        return int(self.net.image_channels), int(self.net.resolution_px), int(self.net.resolution_px)

    @property
    def classes(self) -> int:
        """How many classes it knows; 0 without any."""
        return int(getattr(self.net, "classes", 0))

    @property
    def variance(self) -> "Variance":
        """The variance of `ddpm`'s steps: one this net learned, else that of the chain's betas."""
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
        """The dropout probability or mask of the net inside."""
        return self.net.dropout

    @dropout.setter
    def dropout(self, mask: Any) -> None:
        self.net.dropout = mask

    def __copy__(self) -> "InferenceModel":
        """A wrapper of another net object, which shares all parameters: a mask of one is none of the other."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.net = copy.copy(self.net)
        return made


def inference_models(
    models: Mapping[str, nn.Module], where: torch.device, name: str, unlabelled: Iterable[str] = ()
) -> dict[str, Any]:
    """Denoisers of one training seed for a sampler.

    Args:
        models: by name, loaded on the CPU.
        where: the device they compute on.
        name: the precision.
        unlabelled: models to be called without a class.
    Raises:
        UserError: GUIDELAB_COMPILE is neither empty, 0, 1 nor graphs.
    """
    lacking = set(unlabelled)
    return {
        model: InferenceModel(
            _compiled(_lowered(net.to(where), name, where)), name, where, labelled=model not in lacking
        )
        for model, net in models.items()
    }


def _lowered(net: nn.Module, name: str, where: torch.device) -> nn.Module:
    """The net with the weights of its products rounded once: autocast would round them at every call."""
    used = effective(name, where)
    if where.type == "cuda" and not hasattr(net, "in_half"):  # which keeps its activations so by itself
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if used == "float32":
        return net
    if hasattr(net, "in_half"):
        halved: nn.Module = net.in_half(DTYPES[used])  # type: ignore[operator]
        return halved
    for layer in net.modules():
        if isinstance(layer, _PRODUCTS) or getattr(layer, "matrix_product", False):
            layer.to(DTYPES[used])
    return net


def _compiled(net: nn.Module) -> nn.Module:
    chosen = os.environ.get("GUIDELAB_COMPILE", "")
    if chosen not in COMPILE:
        raise UserError(f"GUIDELAB_COMPILE={chosen}: wanted 1, graphs (also CUDA graphs), or nothing")
    options: Mapping[str, Any] | None = COMPILE[chosen]
    if options is None:
        return net
    if hasattr(net, "compiled"):
        fast: nn.Module = net.compiled(dynamic=False, **options)  # type: ignore[operator]
        return fast
    part(net).compile(dynamic=False, **options)
    return net


def part(net: nn.Module) -> nn.Module:
    """What of a net is compiled: the network inside, without the few operations that make it a denoiser."""
    found: nn.Module = next((getattr(net, inner) for inner in _INNER if hasattr(net, inner)), net)
    return found
