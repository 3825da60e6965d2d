"""One iteration of a denoiser's training: loss, Adam, power-function EMA, prefetched examples.

Source: Karras et al. 2024, arXiv:2312.02696, appendix B and the released training code.
"""

import contextlib
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.core.ema import beta, std_to_gamma
from guidelab.errors import UserError
from guidelab.train.ahead import Ahead
from guidelab.train.curves import Curves
from guidelab.train.distributed import TrainingGroup
from guidelab.train.loop import LOG_EVERY, State
from guidelab.train.masks import dropout_masks
from guidelab.train.rate import learning_rate
from guidelab.train.recipe import Batch, Examples, Objective
from guidelab.train.streams import stream

_EPS = 1e-8  # of Adam


def flatten(net: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Move a net's parameters and gradients into two vectors `[N]`, of which they become views.

    The optimiser and the averages then take a handful of passes over memory instead of some for each parameter.
    """
    params = list(net.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in params]).to(device)
    slope = torch.zeros_like(flat)
    for p, value, grad in zip(params, *(_views(v, params) for v in (flat, slope)), strict=True):
        p.data, p.grad = value, grad
    return flat, slope


def _views(vector: Tensor, params: list[nn.Parameter]) -> list[Tensor]:
    parts = torch.split(vector, [p.numel() for p in params])
    return [part.view(p.shape) for part, p in zip(parts, params, strict=True)]


class Trainer:
    """A net in training, and the step of `guidelab.train.loop`.

    The live state holds everything the next iteration needs: weights, moments, averages, each one vector `[N]`, and the
    count of gradients that were not finite. `step` works on it in place; a state from elsewhere is copied in first.

    Args:
        net: in training mode on `group.device`; its parameters become views of the state. A method
            `constrained(parameters) -> parameters` projects them: it acts on the initial ones and after every step.
        loader: the examples.
        config: `net`, `batch`, `microbatch` (images per forward pass and process; None for all), `lr`, `decay_nimg`,
            `rampup_nimg` (None: no ramp), `ema_stds`.
        objective: the loss of `net`.
        group: the processes that share the batch.
        compile: evaluate the net through `torch.compile`; a compiler that fails is a warning, not an error.
        curves: where to log while training, or None.
        workers: threads that make examples ahead.
    """

    def __init__(
        self,
        net: nn.Module,
        loader: Examples,
        config: Mapping[str, Any],
        objective: Objective,
        group: TrainingGroup,
        compile: bool = False,
        curves: Curves | None = None,
        workers: int | None = None,
    ) -> None:
        self.loader, self.config, self.group, self._curves = loader, config, group, curves
        self._net: Any = net
        self._recipe, self._scale = objective.recipe, objective.recipe.scale(group.device)
        self._dropout = bool(config["net"].get("dropout"))
        self.rows = group.rows(config["batch"])
        self._micro = min(config.get("microbatch") or len(self.rows), len(self.rows))
        if len(self.rows) % self._micro:
            raise UserError(
                f"train: microbatch {self._micro} does not divide the {len(self.rows)} images of a process "
                f"(batch {config['batch']} shared by {group.size}); choose one that does in params.yaml"
            )
        flat, self._slope = flatten(net, group.device)
        self._constrain()
        self._gammas = std_to_gamma(config["ema_stds"])
        self._averages = [f"ema{std:.3f}" for std in config["ema_stds"]]
        self.live: State = {"flat": flat, "first": torch.zeros_like(flat), "second": torch.zeros_like(flat)}
        self.live |= {name: flat.clone() for name in self._averages}
        self.live["nonfinite"] = torch.zeros((), dtype=torch.int64, device=flat.device)
        self._ahead: Ahead[tuple[int, int], Batch] = Ahead(self._examples, self._next, workers)
        self._objective: Any = objective
        if compile:
            self._compile(objective)
        self._sync = self._shared()
        self._since = (time.perf_counter(), 0)  # when the curves' last row was written, and iterations since
        self._loss: Tensor | None = None

    def close(self) -> None:
        """End the threads that make examples."""
        self._ahead.close()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state: the weights in use change with it."""
        for name, value in self.live.items():
            value.copy_(state[name])

    def step(self, state: State, iteration: int) -> tuple[State, Tensor]:
        """One iteration: `(the live state, loss [1])`; the loss is the batch's mean of the sum over pixels."""
        if state is not self.live:
            self.load(state)
        batch = self.config["batch"]
        self._slope.zero_()
        total = torch.zeros(1, dtype=torch.float64, device=self.group.device)
        starts = range(self.rows.start, self.rows.stop, self._micro)
        for start in starts:
            with contextlib.nullcontext() if start == starts[-1] else self._sync():
                loss = self._loss_of(iteration, start)
                # DDP averages over processes what is a sum over the batch
                (loss * (self.group.size / batch)).backward()
            total += loss.detach()
        mean = self.group.total(total) / batch
        lr = learning_rate(
            iteration * batch,
            self.config["lr"],
            self.config["decay_nimg"],
            self.config.get("rampup_nimg") or 0,
        )
        self._update(iteration, lr)
        if self._curves is not None:
            self._log(iteration + 1, mean, lr)
        return self.live, mean

    def _loss_of(self, iteration: int, start: int) -> Tensor:
        """Sum of the losses of the pass that begins at a row of the batch."""
        batch = self._ahead((iteration, start)).to(self.group.device)
        with self._masks(iteration, start):
            total: Tensor = self._objective(*batch).sum()
        if self._scale == 1:
            return total
        fixed = total.detach()
        return fixed + (total - fixed) * self._scale  # its value, with a gradient that is larger

    def _examples(self, place: tuple[int, int]) -> Batch:
        iteration, start = place
        return self.loader.examples(iteration, range(start, start + self._micro))

    def _next(self, place: tuple[int, int]) -> tuple[int, int]:
        iteration, start = place[0], place[1] + self._micro
        return (iteration, start) if start < self.rows.stop else (iteration + 1, self.rows.start)

    def _masks(self, iteration: int, start: int) -> contextlib.AbstractContextManager[None]:
        """Dropout masks belong to the pass: a resumed run draws the same, another microbatch or number of processes others."""
        if not self._dropout:
            return contextlib.nullcontext()
        source = stream("image dropout", self.loader.seed, iteration * self.config["batch"] + start)
        return dropout_masks(self._net, self.group.device, source)

    @torch.no_grad()
    def _update(self, iteration: int, lr: float) -> None:
        """Zero what is not finite, then Adam and the averages, all in place."""
        batch, betas = self.config["batch"], self._recipe.betas
        decays = beta((iteration + 1) * batch, batch, self._gammas).tolist()
        corrections = [1 - b ** (iteration + 1) for b in betas]
        slope, flat, first, second = self._slope, *(self.live[name] for name in ("flat", "first", "second"))
        if self._scale != 1:
            slope.div_(self._scale)
        # x - x is 0 or NaN: a third of what isfinite costs on a CPU
        self.live["nonfinite"] += torch.count_nonzero(slope - slope)
        slope.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        first.lerp_(slope, 1 - betas[0])
        second.mul_(betas[1]).addcmul_(slope, slope, value=1 - betas[1])
        scale = (second / corrections[1]).sqrt_().add_(_EPS)
        flat.addcdiv_(first, scale, value=-lr / corrections[0])
        for name, decay in zip(self._averages, decays, strict=True):
            self.live[name].lerp_(flat, 1 - decay)
        self._constrain()

    @torch.no_grad()
    def _constrain(self) -> None:
        if hasattr(self._net, "constrained"):
            params = dict(self._net.named_parameters())
            for name, value in self._net.constrained(params).items():
                params[name].copy_(value)

    def _compile(self, objective: Objective) -> None:
        """Compile the loss, or only the net if it has `compiled`; a trial pass shows whether it works.

        A net that compiles itself keeps its weights' normalisation outside: inside, torch 2.13 loses that they are
        written back.
        """
        plain = self._net
        try:
            if hasattr(plain, "compiled"):
                objective.net = self._net = plain.compiled(dynamic=False)
            else:
                self._objective = torch.compile(objective, dynamic=False)
            self._try()
        except Exception as error:  # no C++ compiler, no Python headers, a read-only cache folder, ...
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"training uncompiled: {reason}", stacklevel=2)
            objective.net = self._net = plain
            self._objective = objective

    def _shared(self) -> Any:
        """Join the processes' gradients; returns the context in which they stay apart.

        One pass is made and undone, for DDP rearranges its buckets once after its first: were that one a real iteration,
        a resumed run would sum in another order.
        """
        if self.group.size == 1:
            return contextlib.nullcontext
        parallel = nn.parallel.DistributedDataParallel(self._objective, forward_sync_buffers=False)
        self._objective = parallel
        self._try()
        return parallel.no_sync

    def _try(self) -> None:
        before = self.live["flat"].clone()
        try:
            torch.autograd.backward(self._loss_of(0, self.rows.start))
        finally:
            self.live["flat"].copy_(before)
            self._slope.zero_()

    def _log(self, done: int, mean: Tensor, lr: float) -> None:
        self._loss = mean.clone() if self._loss is None else self._loss + mean
        start, count = self._since[0], self._since[1] + 1
        self._since = (start, count)
        if done % LOG_EVERY:
            return
        values = {
            "loss": float(self._loss / count),
            "lr": lr,
            "gradient_norm": float(self._slope.norm()),
            "nonfinite_gradients": float(self.live["nonfinite"]),
            "images_per_s": count * self.config["batch"] / (time.perf_counter() - start),
        }
        assert self._curves is not None  # see `step`
        self._curves.log(done, values)
        self._loss, self._since = None, (time.perf_counter(), 0)
