"""The Inception network of 2015 that FID is defined on, with the parameter names of its PyTorch conversion.

Written out as a table: a block is branches side by side, a branch is steps in a row. Convolutions of stride 1 keep
the size, those of stride 2 are not padded. Two oddities of the original graph are kept: average pools do not count
the padding, and the last block pools by maximum.

Source: Szegedy et al. 2015, arXiv:1512.00567; the graph classify_image of 2015-12-05, whose values torch-fidelity's
`inception-v3-compat` reproduces.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

Kernel = int | tuple[int, int]
Conv = tuple[str, int, Kernel] | tuple[str, int, Kernel, int]  # name, channels, kernel, stride
Step = Conv | str | list[Conv]  # a convolution, a pool, or convolutions of one input side by side
Branches = list[list[Step]]
BN_EPS = 1e-3
CLASSES = 1008
INPUT_PX = 299
MAP, MAP_CHANNELS = "Mixed_6d", 192  # the block after six of its kind, and the width of its first branch


def block_a(pool: int) -> Branches:
    """35 x 35."""
    return [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ["average", ("branch_pool", pool, 1)],
    ]


def block_c(c: int) -> Branches:
    """17 x 17, convolutions of 7 split in two."""
    double: list[Step] = [
        ("branch7x7dbl_1", c, 1),
        ("branch7x7dbl_2", c, (7, 1)),
        ("branch7x7dbl_3", c, (1, 7)),
    ]
    return [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", c, 1), ("branch7x7_2", c, (1, 7)), ("branch7x7_3", 192, (7, 1))],
        [*double, ("branch7x7dbl_4", c, (7, 1)), ("branch7x7dbl_5", 192, (1, 7))],
        ["average", ("branch_pool", 192, 1)],
    ]


def block_e(pool: str) -> Branches:
    """8 x 8, wide."""
    pair: list[Conv] = [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]
    deep: list[Conv] = [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))]
    return [
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), pair],
        [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), deep],
        [pool, ("branch_pool", 192, 1)],
    ]


BLOCK_B: Branches = [
    [("branch3x3", 384, 3, 2)],
    [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)],
    ["shrink"],
]
BLOCK_D: Branches = [
    [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
    [("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3, 2)],
    ["shrink"],
]  # fmt: skip
MIXED: dict[str, tuple[int, Branches]] = {  # input channels and branches, in order
    "Mixed_5b": (192, block_a(32)),
    "Mixed_5c": (256, block_a(64)),
    "Mixed_5d": (288, block_a(64)),
    "Mixed_6a": (288, BLOCK_B),
    "Mixed_6b": (768, block_c(128)),
    "Mixed_6c": (768, block_c(160)),
    "Mixed_6d": (768, block_c(160)),
    "Mixed_6e": (768, block_c(192)),
    "Mixed_7a": (768, BLOCK_D),
    "Mixed_7b": (1280, block_e("average")),
    "Mixed_7c": (2048, block_e("maximum")),
}


def pool(x: Tensor, how: str) -> Tensor:
    """3 x 3 pooling: `average` and `maximum` keep the size, `shrink` is a maximum of stride 2."""
    if how == "average":
        return avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return max_pool2d(x, 3, 2) if how == "shrink" else max_pool2d(x, 3, 1, 1)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int, padded: bool) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        return relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """One block of the table: the concatenated branches of one input."""

    def __init__(self, inputs: int, branches: Branches) -> None:
        super().__init__()
        self.branches = branches
        for branch in branches:
            channels = inputs
            for step in branch:
                if isinstance(step, str):
                    continue
                convs = step if isinstance(step, list) else [step]
                for conv in convs:
                    stride = conv[3] if len(conv) == 4 else 1
                    made = ConvNorm(channels, conv[1], conv[2], stride, padded=stride == 1)
                    self.add_module(conv[0], made)
                channels = convs[0][1]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        return torch.cat([self._branch(x, branch) for branch in self.branches], 1)

    def _branch(self, x: Tensor, branch: list[Step]) -> Tensor:
        for step in branch:
            if isinstance(step, str):
                x = pool(x, step)
            elif isinstance(step, list):
                x = torch.cat([self.get_submodule(conv[0])(x) for conv in step], 1)
            else:
                x = self.get_submodule(step[0])(x)
        return x


class InceptionNet(nn.Module):
    """RGB [B, 3, 299, 299] in [-1, 1] to pooled features [B, 2048] and logits without bias [B, 1008]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, 1, padded=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 1, padded=True)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1, 1, padded=False)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, 1, padded=False)
        for name, (inputs, branches) in MIXED.items():
            self.add_module(name, Mixed(inputs, branches))
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        return self.with_map(x)[:2]

    def with_map(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, logits, and the map [B, 192, 17, 17] that the original graph calls mixed_6/conv.

        It is the first branch of the block (after its ReLU), and so the first channels of what the block returns.
        """
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(pool(x, "shrink")))
        x = pool(x, "shrink")
        for name in MIXED:
            x = self.get_submodule(name)(x)
            if name == MAP:
                kept = x[:, :MAP_CHANNELS]
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.mT, kept
