"""A grader with recalibrated logits: scale and shift per noise bin, fitted on points that are not reported."""

import torch
from torch import Tensor, nn

from guidelab.metrics.calibration import Calibration


class Recalibrated(nn.Module):
    """`scale * logit + bias` with the scale and bias of the noise bin; its gradient is scaled with it."""

    def __init__(self, net: nn.Module, found: Calibration) -> None:
        super().__init__()
        self.net, self.classes = net, getattr(net, "classes", 0)
        self._inner = torch.from_numpy(found.edges[1:-1].copy())  # what lies outside the ends is rounding
        self._scale, self._bias = torch.from_numpy(found.scale), torch.from_numpy(found.bias)

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Logits `[N]` of points `[N, ...]` at noise levels `[N]`."""
        logits: Tensor = self.net(x, sigma, cond)
        inner, scale, bias = (v.to(logits.device) for v in (self._inner, self._scale, self._bias))
        place = torch.bucketize(sigma.to(torch.float64), inner, right=True)
        return (scale[place] * logits + bias[place]).to(logits.dtype)
