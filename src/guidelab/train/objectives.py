"""Training objectives: net and loss in one module that DDP and the compiler can wrap."""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.core.hybrid_loss import Tables, hybrid_loss
from guidelab.core.losses import edm2_loss, edm_loss
from guidelab.errors import UserError
from guidelab.train.augment import LABELS
from guidelab.train.loader import Draws
from guidelab.train.recipe import Recipe

LOSSES: Mapping[str, tuple[str, ...]] = {  # of a net, by its name; the first is its own
    "edm2": ("edm2", "edm"),
    "edm": ("edm",),
    "adm": ("vp",),
    "dit": ("vp",),
}
_OWN = ("edm", "edm2", "vp")  # of any other net, one of a user's own
_OFFERED = {
    "edm": (),
    "edm2": ("logvar",),
    "vp": ("raw", "schedule"),
}  # methods a loss needs of a net, besides its call
UNLABELLED = -1  # no class, where a net takes class weights
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe of a net.

    Args:
        config: `net` (with its name) and, if they are not the net's own, `loss`, `precision`, `label_dropout`.
    Raises:
        UserError: a loss or option that does not fit the net.
    """
    net = config["net"]
    name, dropout = net["name"], config.get("label_dropout") or 0.0
    fitting = LOSSES.get(name, _OWN)
    loss = config.get("loss") or fitting[0]
    if loss not in fitting:
        raise UserError(
            f"train: loss {loss} does not fit net {name}, which wants {' or '.join(fitting)}. Change `loss` of this "
            "denoiser in params.yaml, or leave it out."
        )
    if name == "edm" and net.get("precond", "edm") != "edm":
        raise UserError(
            f"train: net edm with precond {net['precond']} is used as released only: its own losses are not implemented. "
            "Train precond: edm."
        )
    if net.get("augment_dim") and net["augment_dim"] != LABELS:
        raise UserError(
            f"train: net {name} has augment_dim {net['augment_dim']}, wanted {LABELS}, the labels of EDM's augmentation, or 0 "
            "for none"
        )
    if dropout and (name == "adm" or not config["conditional"]):
        raise UserError(
            f"train: label_dropout is {dropout}, but net {name} has no null class. Leave it out; "
            "for a net without classes set conditional: false."
        )
    return Recipe(loss, config.get("precision") or "float32", dropout)


def draws_of(config: Mapping[str, Any], recipe: Recipe, net: Any) -> Draws:
    """How the examples of a net are drawn."""
    return Draws(
        p_mean=config.get("p_mean") or 0.0,
        p_std=config.get("p_std") or 1.0,
        steps=net.schedule.steps if recipe.loss == "vp" else None,
        label_dropout=recipe.label_dropout,
        null=net.classes if config["net"]["name"] == "dit" else UNLABELLED,
        flip=bool(config.get("flip")),
        augment=bool(getattr(net, "augment_dim", 0)),
    )


class Objective(nn.Module):
    """The loss of each example, `[B]`, summed over its elements.

    Args:
        net: the denoiser, on its device; `edm2` needs its `logvar(sigma)`, `vp` its `raw` and `schedule`.
        recipe: which loss, in which precision.
        sigma_data: std of the data; `vp` does not use it.
    Raises:
        UserError: the net lacks what the loss needs.
    """

    def __init__(self, net: Any, recipe: Recipe, sigma_data: float) -> None:
        super().__init__()
        lacking = [name for name in _OFFERED[recipe.loss] if not hasattr(net, name)]
        if lacking:
            raise UserError(
                f"train: loss {recipe.loss} needs `{'` and `'.join(lacking)}` of the net, which {type(net).__name__} has not. "
                "Leave `loss` of this denoiser out."
            )
        self.net, self.recipe, self.sigma_data = net, recipe, sigma_data
        device = next(net.parameters()).device
        self._tables = Tables.of(net.schedule).to(device) if recipe.loss == "vp" else None
        if recipe.loss == "edm" and hasattr(net, "logvar_linear"):
            net.logvar_linear.requires_grad_(False)  # nothing trains it, and DDP waits for gradients

    def forward(
        self, x0: Tensor, noise: Tensor, level: Tensor, cond: Tensor | None, augment: Tensor | None
    ) -> Tensor:
        """Loss `[B]` of a `Batch`."""
        with self._autocast(x0.device):
            if self._tables is not None:
                return hybrid_loss(self.net.raw, x0, noise, level, cond, self._tables)
            cond = self._weights(cond)
            if self.recipe.loss == "edm2":
                log_variance = self.net.logvar(level).reshape(-1)
                return edm2_loss(self.net, x0, noise, level, cond, self.sigma_data, log_variance)

            def predict(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
                more = {} if augment is None else {"augment_labels": augment}
                found: Tensor = self.net(x, sigma, cond, **more)
                return found

            return edm_loss(predict, x0, noise, level, cond, self.sigma_data)

    def _weights(self, cond: Tensor | None) -> Tensor | None:
        """Labels; as class weights, zeros for dropped ones, if some are dropped."""
        if cond is None or not self.recipe.label_dropout:
            return cond
        one_hot_labels = functional.one_hot(cond.clamp_min(0), self.net.classes).to(torch.float32)
        return one_hot_labels * (cond >= 0)[:, None]

    def _autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        half = _HALF.get(self.recipe.precision)
        if half is None or device.type != "cuda":
            return contextlib.nullcontext()
        return torch.autocast("cuda", half)
