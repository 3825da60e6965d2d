"""A classifier trained on the experiment's dataset, as feature extractor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.errors import UserError
from guidelab.features.extractor import Extracted, as_net_input, check_images, checked_weights
from guidelab.io import load_arrays


class Trained:
    """Extractor `trained`: features and class logits of a net of this workflow.

    The net must have `features(images [B, C, H, W] in [-1, 1]) -> (features [B, F], logits [B, K])`. It saw the
    labels, so its features favour differences between classes: report another extractor too.
    """

    name = "trained"

    def __init__(
        self,
        net_path: str | Path,
        load_net: Callable[[str], Callable[..., nn.Module]],
        *,
        seed: int | None = None,
        sha256: str | None = None,
    ) -> None:
        """Read the net.

        Args:
            net_path: safetensors with tensors `seed{S}/{parameter}` and meta["net"], the complete arguments.
            load_net: from meta["net"]["name"] to the class; the caller's registry.
            seed: which training; the only one of the file when not given.
            sha256: refuse any other file.

        Raises:
            UserError: no such file or training seed, or parameters that do not fit the net.
        """
        self.sha256 = checked_weights(net_path, sha256, self.name)
        tensors, meta = load_arrays(net_path)
        if not isinstance(meta.get("net"), dict) or "seeds" not in meta:
            raise UserError(f"{net_path}: holds no net (its header lacks `net` or `seeds`)")
        self.seed = _seed(seed, list(meta["seeds"]), net_path)
        kwargs: dict[str, Any] = dict(meta["net"])
        net = load_net(kwargs.pop("name"))(**kwargs)
        prefix = f"seed{self.seed}/"
        weights = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{net_path}: its parameters do not fit {meta['net']['name']}: {error}"
            ) from error
        if not callable(getattr(net, "features", None)):
            raise UserError(
                f"{net_path}: {meta['net']['name']} gives no features(images); wanted a classifier"
            )
        self.net = net.eval().requires_grad_(False)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Extracted:
        """Features [B, F] and logits [B, K] of images [B, C, H, W] uint8."""
        x = as_net_input(check_images(images, self.name)).contiguous(memory_format=torch.channels_last)
        features, logits = self.net.features(x)  # type: ignore[operator]
        return Extracted(features.to(torch.float32), logits.to(torch.float32))


def _seed(seed: int | None, seeds: list[int], path: str | Path) -> int:
    if seed is None and len(seeds) == 1:
        return seeds[0]
    if seed not in seeds:
        raise UserError(
            f"{path}: holds training seeds {seeds}, wanted {'one of them' if seed is None else seed}"
        )
    return seed
