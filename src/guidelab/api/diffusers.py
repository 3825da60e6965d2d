"""Models of diffusers as denoisers, and two nets with an interval as a guider of diffusers. Needs the package diffusers."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from guidelab.api.arguments import device_of
from guidelab.api.denoisers import Net, Predicts, denoiser
from guidelab.data.strict_json import read_json
from guidelab.errors import UserError, brief
from guidelab.metrics.torchvision_repair import import_torchvision

_PARTS = ("transformer", "unet")  # of a pipeline's folder
_PREDICTS: dict[str, Predicts] = {"epsilon": "epsilon", "v_prediction": "v"}


def from_diffusers(folder: str | Path, *, device: str = "cpu") -> Net:
    """The denoiser in a pipeline's folder on disk: an unconditional or class-conditional UNet, or DiT.

    Weights are read from safetensors and nothing in the folder is run; nothing is fetched. The null class of DiT is
    `cond=None`.

    Args:
        folder: with `scheduler/scheduler_config.json`, and the model in `transformer/` or `unet/`.
        device: where the model is put.
    Raises:
        UserError: absent or broken parts, another kind of model or prediction, no such device, or the package diffusers is missing.
    """
    place = next((Path(folder) / part for part in _PARTS if (Path(folder) / part).is_dir()), None)
    settings = Path(folder) / "scheduler/scheduler_config.json"
    if place is None or not settings.is_file():
        raise UserError(
            f"{folder}: is no folder of a diffusers pipeline; wanted scheduler/scheduler_config.json and a model in {' or '.join(_PARTS)}/"
        )
    where, library = device_of("from_diffusers", device), _diffusers()
    scheduler, predicts = _scheduler(settings)
    try:
        model = library.AutoModel.from_pretrained(
            str(place), local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, ImportError, AttributeError) as error:
        raise UserError(
            f"{place}: cannot be read ({str(error).splitlines()[0][:200]}); wanted config.json and safetensors"
        ) from error
    alphas = library.DDPMScheduler.from_config(scheduler).alphas_cumprod
    call, classes = _called(place, model.to(where).eval().requires_grad_(False))
    config = model.config
    size = config.sample_size if isinstance(config.sample_size, Sequence) else (config.sample_size,) * 2
    return denoiser(call, (config.in_channels, *size), classes, predicts=predicts, schedule=alphas)


def _scheduler(settings: Path) -> tuple[dict[str, Any], Predicts]:
    """The configuration of a scheduler, and what its models predict."""
    try:
        found = read_json(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{settings}: cannot be read ({brief(error)}); wanted a JSON object") from error
    if not isinstance(found, dict):
        raise UserError(f"{settings}: holds a {type(found).__name__}, wanted a JSON object")
    given = found.get("prediction_type", "epsilon")
    predicts = _PREDICTS.get(given) if isinstance(given, str) else None
    if predicts is None:
        raise UserError(f"{settings}: prediction_type {given!r}, wanted {' or '.join(_PREDICTS)}")
    return found, predicts


def _called(place: Path, model: nn.Module) -> tuple[Callable[[Tensor, Tensor, Tensor | None], Tensor], int]:
    """The model as a function of `(x_vp, t, cond)`, and how many classes it knows."""
    names = list(inspect.signature(model.forward).parameters)
    config: Any = model.config
    if "class_labels" not in names or "encoder_hidden_states" in names:
        raise UserError(
            f"{place}: holds {type(model).__name__}, wanted a model of classes or of no condition, such as UNet2DModel"
        )
    null = getattr(config, "num_embeds_ada_norm", None)
    classes = null or getattr(config, "num_class_embeds", None) or 0

    def call(x: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        labels = steps.new_full((len(x),), null).long() if cond is None and null else cond
        out: Tensor = model(x, steps, class_labels=labels if classes else None, return_dict=False)[0]
        return out

    return call, classes


def diffusers_guider(
    guide: nn.Module, weight: float, *, sigmas: Sequence[float] = (), lo: float = 0.0, hi: float = math.inf
) -> Any:
    """Two nets and an interval of noise levels as a guider of diffusers: `guide + weight * (main - guide)`.

    The pipeline's own model is the main net. The guide is called with the same arguments, in place of its `forward`.

    Args:
        guide: the weaker model, of the same class as the pipeline's.
        weight: `w`, `guidance_scale` of diffusers; 1 is no guidance.
        sigmas: noise levels of the steps, descending, as the scheduler's; needed with an interval.
        lo, hi: steps whose sigma lies in `(lo, hi]` are guided.
    Raises:
        ValueError: an interval without noise levels, or one that holds none of them.
    Source: Karras et al. 2024, arXiv:2406.02507; the interval, Kynkaanniemi et al. 2024, arXiv:2404.07724.
    """
    start, stop = 0.0, 1.0
    if lo > 0 or hi < math.inf:
        guided = [lo < float(sigma) <= hi for sigma in sigmas]
        if True not in guided:
            raise ValueError(f"diffusers_guider: ({lo}, {hi}] holds none of {len(sigmas)} noise levels")
        first, count = guided.index(True), len(guided)
        # guiders round a fraction of the steps down: half a step more names the same step whatever the rounding
        start, stop = (first + 0.5) / count, min((first + sum(guided) + 0.5) / count, 1.0)
    return _two_nets()(guide, weight, start, stop)


def _diffusers() -> Any:
    import_torchvision()  # which it imports
    try:
        import diffusers
    except ImportError as error:
        raise UserError(
            "the package diffusers is missing; install it with: pip install 'guidelab[vae]'"
        ) from error
    return diffusers


@cache
def _two_nets() -> Any:
    """The class of guiders with a second net; made where it is used, as it is of a package that may be absent."""
    base: Any = _diffusers().ClassifierFreeGuidance

    class TwoNets(base):  # type: ignore[misc]
        """Guidance away from a second net, which is called instead of the pipeline's model."""

        def __init__(self, guide: nn.Module, weight: float, start: float, stop: float) -> None:
            super().__init__(guidance_scale=weight, start=start, stop=stop)
            self.guide, self.own = guide, guide.forward

        def prepare_models(self, denoiser: nn.Module) -> None:
            super().prepare_models(denoiser)
            if self.is_unconditional:
                self.own, denoiser.forward = denoiser.forward, self.guide.forward

        def cleanup_models(self, denoiser: nn.Module) -> None:
            if self.is_unconditional:
                denoiser.forward = self.own

        def prepare_inputs(self, data: Any) -> Any:
            names = self._input_predictions[: self.num_conditions]
            return [self._prepare_batch(data, 0, name) for name in names]  # both nets get the condition

        def prepare_inputs_from_block_state(self, data: Any, input_fields: Any) -> Any:
            names = self._input_predictions[: self.num_conditions]
            return [self._prepare_batch_from_block_state(input_fields, data, 0, name) for name in names]

    return TwoNets
