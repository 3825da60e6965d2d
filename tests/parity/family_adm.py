"""ADM: network, noisy classifier, respacing, one ancestral step and DDIM samples, guided or not, through `D(x, sigma)`."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from compared import FLOAT32, FLOAT64, Output
from torch import Tensor

from guidelab.checkpoints.from_adm import convert_classifier, convert_unet
from guidelab.core.chain import Chain, respaced
from guidelab.core.denoiser import Denoiser, per_sample
from guidelab.core.guidance import Correction
from guidelab.core.guidance.classifier import classifier
from guidelab.core.samplers.chain import Variance, ddim, ddpm, posterior
from guidelab.core.samplers.heun import Correct
from guidelab.nets.adm import Adm
from guidelab.nets.image_discriminator import AdmClassifier

_ROUNDING = (
    1e-6  # std of the reference's rounding, relative to its largest output (measured: ours in float64)
)
_BITS = 2 * torch.finfo(torch.float32).eps  # five roundings on the way, each of half of it or less
_DRAWS, _FACTOR = 8, 4.0  # how far rounding may move an output: the largest of so many draws, so many times


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    for name, compute in _computed(tensors, config).items():
        if f"out/{name}" in tensors:
            value, tolerance, allowance = compute()
            yield Output(f"out/{name}", value, tolerance, allowance)


Computed = tuple[Tensor, float, Tensor | float]


def _computed(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Callable[[], Computed]]:
    net = network(tensors, config)
    chain = respaced(net.schedule, config.get("timestep_respacing", ""))
    x, labels = tensors.get("in/x"), tensors.get("in/y")
    noisy = _rounded(net, tensors)
    chosen: Variance = "small" if config.get("sigma_small") else net.variance  # or learned

    def guided() -> Correction:
        return Correction([classifier(noisy_classifier(tensors, config), config["classifier_scale"])])

    def of_steps(part: str, correct: bool = False) -> Callable[[], Computed]:
        def compute() -> Computed:
            def run(predict: Denoiser, variance: Variance) -> Tensor:
                found = _each_step(predict, chain, tensors, variance, guided() if correct else None)
                return torch.cat([getattr(step, part).expand_as(step.mean) for step in found])

            return _compared(run, net, chosen, noisy)

        return compute

    def sampled(correct: bool) -> Callable[[], Computed]:
        def compute() -> Computed:
            def run(predict: Denoiser, variance: Variance) -> Tensor:
                more = _shaken(guided(), moves=predict is not net) if correct else None
                return ddim(predict, tensors["in/noise"], chain, labels, correct=more, clip=True)

            return _compared(run, net, chosen, noisy)

        return compute

    def variance() -> Computed:
        found = _each_step(net, chain, tensors, chosen, None)
        return torch.cat([step.log_variance.exp().expand_as(step.mean) for step in found]), FLOAT32, 0.0

    def ancestral() -> Computed:
        def run(predict: Denoiser, variance: Variance) -> Tensor:
            return ddpm(
                predict, tensors["in/noise"], chain, labels, clip=True, variance=variance,
                noise=lambda step: tensors["in/step_noise"][step],
            )  # fmt: skip

        return _compared(run, net, chosen, noisy)

    return {
        "timestep_map": lambda: (torch.tensor(chain.steps_original), 0.0, 0.0),
        "alphas_cumprod": lambda: (chain.alphas_cumprod, FLOAT64, 0.0),
        "model_out_t": lambda: (net.raw(x, tensors["in/timesteps"], labels), FLOAT32, 0.0),  # type: ignore[arg-type]
        "classifier_logits": lambda: (_logits(tensors, config), FLOAT32, 0.0),
        "p_mean": of_steps("mean"),
        "p_variance": variance,
        "pred_xstart": of_steps("denoised"),
        "p_mean_guided": of_steps("mean", correct=True),
        "ddim_unguided": sampled(correct=False),
        "ddim_guided": sampled(correct=True),
        "ddpm_unguided": ancestral,
    }


def network(tensors: dict[str, Tensor], config: dict[str, Any]) -> Adm:
    """The denoiser of the file, as the product imports it."""
    hints = {
        **_hints(config["unet"], config),
        "schedule": config.get("noise_schedule", "linear"),
        "steps": config.get("diffusion_steps", 1000),
    }
    found, state = convert_unet(_state(tensors, "net"), hints)
    del found["name"]
    net = Adm(**found)
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def noisy_classifier(tensors: dict[str, Tensor], config: dict[str, Any]) -> AdmClassifier:
    """The classifier of the file, with time steps of the file's schedule."""
    cosine = config.get("noise_schedule", "linear") == "cosine"
    hints = {**_hints(config["classifier"], config), "schedule": "discrete_cosine" if cosine else "discrete"}
    found, state = convert_classifier(_state(tensors, "classifier"), hints)
    del found["name"]
    net = AdmClassifier(**found)
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def _logits(tensors: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    encoder = noisy_classifier(tensors, config).encoder
    out: Tensor = encoder(tensors["in/x"], tensors["in/timesteps"])
    return out


def _hints(part: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Settings that cannot be inferred from parameters: sizes of images and attention heads, order of attention weights."""
    each = part.get("num_head_channels", -1)
    heads = {"head_channels": each} if each not in (-1, None) else {"heads": part.get("num_heads", 1)}
    order = part.get("use_new_attention_order", False)
    return {
        "resolution_px": config["resolution"],
        "blocks": part["num_res_blocks"],
        "split_first": order,
        **heads,
    }


def _state(tensors: dict[str, Tensor], role: str) -> dict[str, Tensor]:
    prefix = f"param/{role}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _each_step(
    predict: Denoiser,
    chain: Chain,
    tensors: dict[str, Tensor],
    variance: Variance,
    correct: Correction | None,
) -> list[Any]:
    """One ancestral step per sample: each stands at a step of its own."""
    x, labels, at = tensors["in/x"], tensors.get("in/y"), tensors["in/t_index"].tolist()
    return [
        posterior(
            predict, x[i : i + 1], chain, index, None if labels is None else labels[i : i + 1],
            variance=variance, correct=correct, clip=True,
        )
        for i, index in enumerate(at)
    ]  # fmt: skip


def _compared(
    run: Callable[[Denoiser, Variance], Tensor],
    net: Adm,
    variance: Variance,
    noisy: Callable[[int], Denoiser],
) -> Computed:
    """Our value, and how far the rounding of a network's output moves it.

    Where noise rules, `D = x - sigma eps` magnifies that rounding: sigma is 157 at the last step, so what clipping
    leaves of it differs by more than 1e-5 between any two float32 evaluations of the same network.
    """
    value = run(net, variance)
    moved = torch.zeros_like(value)
    for draw in range(_DRAWS):
        moved = torch.maximum(moved, (run(noisy(draw), variance) - value).abs())
    return value, FLOAT32, _FACTOR * moved


def _shaken(correct: Correct, moves: bool) -> Correct:
    """Guidance of a DDIM step; if `moves`, off by what the reference loses: it goes from x0 to eps and back in float32."""

    def add(x: Tensor, sigma: Tensor, cond: Tensor | None, denoised: Tensor) -> Tensor:
        delta = correct(x, sigma, cond, denoised)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(int(1e6 * denoised.abs().sum())))
        return delta + x * _BITS * noise if moves else delta

    return add


def _rounded(net: Adm, tensors: dict[str, Tensor]) -> Callable[[int], Denoiser]:
    """The denoiser with its network's output moved by as much as rounding moves it."""
    largest = tensors["out/model_out_t"].abs().max() if "out/model_out_t" in tensors else torch.tensor(1.0)

    def make(draw: int) -> Denoiser:
        generator = torch.Generator().manual_seed(draw)

        def predict(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
            noise = torch.randn(x.shape, generator=generator)
            moved: Tensor = net(x, sigma, cond) - per_sample(sigma, x) * _ROUNDING * largest * noise
            return moved

        return predict

    return make
