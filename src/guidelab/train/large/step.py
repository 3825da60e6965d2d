"""One iteration of a large training: the steps of `guidelab.train.image_step` with another loss and examples made ahead."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.core.ema import beta
from guidelab.train.distributed import World
from guidelab.train.image_curves import Curves
from guidelab.train.image_step import ImageTrainer
from guidelab.train.large.ahead import Ahead
from guidelab.train.large.loader import Batch, LargeLoader
from guidelab.train.large.objectives import Objective
from guidelab.train.streams import stream

_EPS = 1e-8  # of Adam


class LargeTrainer(ImageTrainer):
    """A net in training, and the step of `guidelab.train.loop`.

    Args:
        net: in training mode on `world.device`; its parameters become views of the state.
        loader: the examples.
        config: as of `ImageTrainer`.
        objective: the loss of `net`.
        world: the processes that share the batch.
        compile: evaluate the loss through `torch.compile`; a compiler that fails is a warning, not an error.
        curves: where to log while training, or None.
        workers: threads that make examples ahead.
    """

    def __init__(
        self,
        net: nn.Module,
        loader: LargeLoader,
        config: Mapping[str, Any],
        objective: Objective,
        world: World,
        compile: bool = False,
        curves: Curves | None = None,
        workers: int | None = None,
    ) -> None:
        self._recipe, self._wrapped, self._wanted = objective.recipe, objective, compile
        self._scale = objective.recipe.scale(world.device)
        self._dropout = bool(config["net"].get("dropout"))
        self._workers = workers
        self._feed: Ahead[tuple[int, int], Batch] | None = None
        self._loader = loader
        share = len(world.rows(config["batch"]))
        fitting = {**config, "microbatch": min(config.get("microbatch") or share, share)}
        # the loader has what is asked of a loader here: the seed
        super().__init__(net, loader, fitting, objective.sigma_data, world, False, curves)  # type: ignore[arg-type]

    def close(self) -> None:
        """End the threads that make examples."""
        if self._feed is not None:
            self._feed.close()

    def _shared(self) -> Any:
        self._objective = self._wrapped
        if self._wanted:
            self._compile()
        return super()._shared()

    def _compile(self) -> None:
        """Compile the loss, or the net alone where it knows how; one pass is made and undone to see whether it works."""
        plain = self._net
        try:
            if hasattr(plain, "compiled"):
                self._wrapped.net = self._net = plain.compiled(dynamic=False)
            else:
                self._objective = torch.compile(self._wrapped, dynamic=False)
            self._try()
        except Exception as error:  # no C++ compiler, no Python headers, a read-only cache folder, ...
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"training uncompiled: {reason}", stacklevel=2)
            self._wrapped.net = self._net = plain
            self._objective = self._wrapped

    def _loss_of(self, iteration: int, start: int) -> Tensor:
        """Sum of the losses of the pass that begins at a row of the batch."""
        if self._feed is None:
            self._feed = Ahead(self._pass, self._next, self._workers)
        batch = self._feed((iteration, start)).to(self.world.device)
        with self._masks(iteration, start):
            total: Tensor = self._objective(*batch).sum()
        if self._scale == 1:
            return total
        fixed = total.detach()
        return fixed + (total - fixed) * self._scale  # its value, with a gradient that is larger

    def _pass(self, place: tuple[int, int]) -> Batch:
        iteration, start = place
        return self._loader.examples(iteration, range(start, start + self._micro))

    def _next(self, place: tuple[int, int]) -> tuple[int, int]:
        iteration, start = place[0], place[1] + self._micro
        return (iteration, start) if start < self.rows.stop else (iteration + 1, self.rows.start)

    @contextlib.contextmanager
    def _masks(self, iteration: int, start: int) -> Iterator[None]:
        """Dropout belongs to the pass: a resumed run draws the same."""
        if not self._dropout:
            yield
            return
        source = stream("image dropout", self.loader.seed, iteration * self.config["batch"] + start)
        seed, device = int(torch.randint(1 << 31, (1,), generator=source)), self.world.device
        if hasattr(self._net, "dropout_generator"):
            self._net.dropout_generator = torch.Generator(device).manual_seed(seed)
            yield
            return
        # layers that take no generator draw from the global one: for the pass it is ours
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            state = torch.Generator(device).manual_seed(seed).get_state()
            if device.type == "cuda":
                torch.cuda.set_rng_state(state, device)
            else:
                torch.set_rng_state(state)
            yield

    @torch.no_grad()
    def _update(self, iteration: int, lr: float) -> None:
        """Zero what is not finite, then Adam and the averages, all in place."""
        batch, betas = self.config["batch"], self._recipe.betas
        decays = beta((iteration + 1) * batch, batch, self._gammas).tolist()
        corrections = [1 - b ** (iteration + 1) for b in betas]
        slope, flat, first, second = self._slope, *(self.live[name] for name in ("flat", "first", "second"))
        if self._scale != 1:
            slope.div_(self._scale)
        self.live["nonfinite"] += torch.count_nonzero(slope - slope)  # x - x is 0 or NaN
        slope.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        first.lerp_(slope, 1 - betas[0])
        second.mul_(betas[1]).addcmul_(slope, slope, value=1 - betas[1])
        scale = (second / corrections[1]).sqrt_().add_(_EPS)
        flat.addcdiv_(first, scale, value=-lr / corrections[0])
        for name, decay in zip(self._averages, decays, strict=True):
            self.live[name].lerp_(flat, 1 - decay)
