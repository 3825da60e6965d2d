"""Adam with its state in a dict of tensors, so that a training can be saved and resumed exactly."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from guidelab.train.loop import State

_BETAS = (0.9, 0.999)
_EPS = 1e-8


class Adam:
    """Steps of Adam whose state (parameters, moments, count) is a dict that can be saved and given back.

    Args:
        net: its parameters that require gradients are trained; frozen ones are neither changed nor saved.
        lr: step size.
        weight_decay: added to the gradient times the parameter (Adam's own).
        decoupled: the decay shrinks the parameters by themselves instead (AdamW's).
    Source: Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.
    """

    def __init__(self, net: nn.Module, lr: float, weight_decay: float = 0.0, decoupled: bool = False) -> None:
        self.net = net
        self.lr = lr
        self.params = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.Adam(
            self.params.values(),
            lr=lr,
            betas=_BETAS,
            eps=_EPS,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled,
        )
        self._state: State | None = None

    def initial(self) -> State:
        """The state before the first step."""
        state = {f"param/{name}": p.detach().clone() for name, p in self.params.items()}
        for moment in ("first", "second"):
            state |= {f"{moment}/{name}": torch.zeros_like(p) for name, p in self.params.items()}
        return {**state, "steps": torch.zeros(())}

    def step(self, state: State, loss: Callable[[], Tensor], lr_factor: float = 1.0) -> tuple[State, Tensor]:
        """One step down `loss()`, evaluated with the parameters of `state`, which is changed in place.

        Returns:
            The state, and the loss `[1]`.
        """
        if state is not self._state:
            self._bind(state)
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * lr_factor
        self.optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        state["steps"] += 1
        return state, value.detach()[None]

    def load(self, snapshot: State) -> nn.Module:
        """The network with a snapshot's parameters."""
        with torch.no_grad():
            for name, p in self.params.items():
                p.data = (
                    p.data.clone()
                )  # the tensors of a state may be those of the parameters: leave them alone
                p.copy_(snapshot[f"param/{name}"])
        self._state = None
        return self.net

    def _bind(self, state: State) -> None:
        """Make parameters and moments the state's own tensors."""
        for name, p in self.params.items():
            p.data = state[f"param/{name}"]
            self.optimiser.state[p] = {
                "step": state["steps"].clone(),
                "exp_avg": state[f"first/{name}"],
                "exp_avg_sq": state[f"second/{name}"],
            }
        self._state = state


def parameters_of(state: State) -> State:
    """The part of a state worth keeping: parameters, copied, under the names `Adam.load` reads."""
    return {name: value.clone() for name, value in state.items() if name.startswith("param/")}
