"""DINOv2 ViT-L/14 class tokens in the papers' resize: the features of FD_DINOv2 in EDM2 and autoguidance."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from guidelab.errors import UserError
from guidelab.features.extractor import Extracted, as_rgb, check_images, checked_weights
from guidelab.features.vit import HEAD, VisionTransformer
from guidelab.features.weights import read_state_dict, wanted_path

INPUT_PX = 224
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, for values in [0, 1]
STD = (0.229, 0.224, 0.225)
FILE, SOURCE = (
    "dinov2_vitl14_pretrain.pth",
    "the releases of github.com/facebookresearch/dinov2 (ViT-L/14 distilled)",
)
SIZES = {"vits14": (384, 12), "vitb14": (768, 12), "vitl14": (1024, 24)}  # width, depth


class Dinov2:
    """Extractor `dinov2`: the class token after the last norm [B, 1024], no logits.

    Images are enlarged or shrunk to 224 pixels by antialiased bicubic interpolation in float32, neither rounded
    nor clamped to [0, 255] afterwards, then divided by 255 and normalised: what the EDM2 code does. (torch-fidelity's
    extractor of that name interpolates bilinearly without antialiasing, and its distances are not comparable.)
    """

    name = "dinov2"

    def __init__(
        self, path: str | Path | None = None, *, sha256: str | None = None, model: str | None = "vitl14"
    ) -> None:
        """Read the weights: a state dict of the release, as .pth (tensors only) or .safetensors.

        Args:
            path: of the weights.
            sha256: refuse any other file.
            model: `vits14`, `vitb14` or `vitl14`, the papers' choice; None takes the size of the file.

        Raises:
            UserError: absent (names the file to fetch), damaged, or of another size.
        """
        found = wanted_path(path, self.name, FILE, SOURCE)
        self.sha256 = checked_weights(found, sha256, self.name)
        self.net = build(read_state_dict(found, self.name), f"{self.name}: {found}", model)
        self._mean, self._std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Extracted:
        """Class tokens [B, D] of images [B, C, H, W] uint8."""
        x = resize(check_images(images, self.name)) / 255
        return Extracted(self.net((x - self._mean.to(x)) / self._std.to(x)))


def resize(images: Tensor) -> Tensor:
    """Images [B, C, H, W] uint8 as RGB [B, 3, 224, 224] float32, about 0..255: bicubic overshoots."""
    values = images.to(torch.float32)  # gray is interpolated once, not three times
    return as_rgb(interpolate(values, (INPUT_PX, INPUT_PX), mode="bicubic", antialias=True))


def build(weights: dict[str, Tensor], where: str, model: str | None) -> VisionTransformer:
    """The network a state dict fits, with these weights, ready to be called.

    Raises:
        UserError: no such model, not the named one, or parameters that do not fit.
    """
    if model is not None and model not in SIZES:
        raise UserError(f"{where}: model {model!r} is not known; wanted one of {', '.join(SIZES)}")
    try:
        width, patch_px = weights["cls_token"].shape[-1], weights["patch_embed.proj.weight"].shape[-1]
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        hidden = weights["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{where}: holds no DINOv2 weights with an MLP (missing {error})") from error
    if model is not None and (width, depth) != SIZES[model]:
        raise UserError(f"{where}: width {width} and depth {depth}, wanted {SIZES[model]} of {model}")
    net = VisionTransformer(
        width=width,
        depth=depth,
        heads=max(width // HEAD, 1),
        hidden=hidden,
        patch_px=patch_px,
        grid=round((weights["pos_embed"].shape[1] - 1) ** 0.5),
        registers=weights["register_tokens"].shape[1] if "register_tokens" in weights else 0,
    )
    try:
        net.load_state_dict({name: tensor.to(torch.float32) for name, tensor in weights.items()})
    except RuntimeError as error:
        raise UserError(
            f"{where}: its parameters do not fit: {str(error).splitlines()[-1].strip()}"
        ) from error
    return net.eval().requires_grad_(False)
