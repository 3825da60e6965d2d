"""EDM2: a U-Net whose layers preserve magnitudes, under EDM's preconditioning.

Source: Karras et al. 2024, arXiv:2312.02696, config G; what `patch_px`, `lean` and `head_channels` change is ours.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.core.precond import coefficients, precondition
from guidelab.errors import UserError
from guidelab.nets.edm2_block import PLAIN, Mask, Style
from guidelab.nets.edm2_layers import MPConv, MPFourier
from guidelab.nets.edm2_plan import plan
from guidelab.nets.edm2_sizes import CHANNEL_MULT, channels_of
from guidelab.nets.edm2_unet import UNet, UNetWeights

if TYPE_CHECKING:
    from guidelab.nets.edm2_compiled import Compiled

Dropout = Callable[
    [int, Tensor, tuple[int, ...]], Tensor
]  # (block, sigma [B], shape [B, C, H, W]) -> mask of that shape
_LOGVAR_FEATURES = 128


class _Kept(NamedTuple):
    """Effective weights, and the state of the parameters they were computed from."""

    state: list[tuple[int, int, torch.dtype]]  # address, version, dtype
    weights: UNetWeights
    holds: list[Tensor]  # the parameters' memory, so that no other parameter can come to have its address


class Edm2(nn.Module):
    """Denoiser `D(x, sigma, cond)` and the log-variance head of its training loss.

    In training mode every evaluation first normalises the stored weights (forced weight normalisation); in
    evaluation mode the normalised weights are computed once and kept until a parameter changes (a change through
    `parameter.data` is not seen: call `train()` and `eval()` after it).

    Args:
        resolution_px: height and width of the images.
        image_channels: their channels.
        classes: number of labels; 0 for an unconditional net, which ignores the labels it is given.
        channels: channels of the first level (or `size`).
        channel_mult: channels of every level, as multiples; None for EDM2's 1, 2, 3, 4.
        blocks: blocks per level of the encoder; the decoder has one more.
        attention_px: resolutions with attention (after the patch stem); the bottom of the net always has it.
        patch_px: patches of this size become channels before the first convolution (pixel unshuffle), 1 for none.
        dropout: probability of dropping an activation between the two convolutions of a block in training. The
            attribute may be replaced by a mask function, which then acts in evaluation too (see `Dropout`).
        sigma_data: std of the data.
        size: EDM2's name of a size, instead of `channels`.
        head_channels: channels of an attention head; a block with fewer has no attention (as in the released code).
        lean: fewer blocks, for small nets; see `guidelab.nets.edm2_plan.plan`.
        generator: source of the initial weights; the global one when None.
        noise_mult, emb_mult: channels of the noise's features and of the embedding, as multiples of `channels`; None
            for the first level's, and the widest.
        logvar_channels: features of the log-variance head.
        label_balance, concat_balance, res_balance, attn_balance, clip_act, resample_filter: as in
            `guidelab.nets.edm2_block.Style`; other taps than (1, 1) are for nets that are not lean.
    Raises:
        UserError: sizes that do not fit together.
    Source: Karras et al. 2024, arXiv:2312.02696; released preconditioning.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int,
        channels: int | None = None,
        channel_mult: Sequence[float] | None = None,
        blocks: int = 3,
        attention_px: Sequence[int] = (16, 8),
        patch_px: int = 1,
        dropout: float = 0.0,
        sigma_data: float = 0.5,
        size: str | None = None,
        head_channels: int = 64,
        lean: bool = False,
        generator: torch.Generator | None = None,
        noise_mult: float | None = None,
        emb_mult: float | None = None,
        logvar_channels: int = _LOGVAR_FEATURES,
        label_balance: float = 0.5,
        concat_balance: float = 0.5,
        res_balance: float = 0.3,
        attn_balance: float = 0.3,
        clip_act: float | None = 256,
        resample_filter: Sequence[float] = PLAIN,
    ) -> None:
        super().__init__()
        style = Style(
            res_balance,
            attn_balance,
            label_balance,
            concat_balance,
            clip_act,
            tuple(map(float, resample_filter)),
        )
        _check_style(style, lean)
        first = channels_of(size, channels)
        level_channels = [round(first * mult) for mult in channel_mult or CHANNEL_MULT]
        multiple = patch_px << (len(level_channels) - 1)
        if resolution_px % multiple or blocks < 1:
            raise UserError(
                f"net edm2: given resolution_px={resolution_px}, blocks={blocks}; wanted a multiple of {multiple} "
                f"(patch_px={patch_px}, {len(level_channels)} levels) and at least 1 block"
            )
        self.resolution_px, self.image_channels, self.classes = resolution_px, image_channels, classes
        self.patch_px, self.sigma_data = patch_px, sigma_data
        self.dropout: float | Dropout = dropout
        self.dropout_generator: torch.Generator | None = (
            None  # of the masks in training; the global one when None
        )
        patch = image_channels * patch_px**2
        blueprint = plan(resolution_px // patch_px, level_channels, blocks, attention_px, lean)
        noise, emb = (None if mult is None else round(first * mult) for mult in (noise_mult, emb_mult))
        self.unet = UNet(blueprint, patch + 1, patch, classes, head_channels, generator, style, noise, emb)
        self.logvar_fourier = MPFourier(logvar_channels, generator)
        self.logvar_linear = MPConv(logvar_channels, 1, (), generator)
        self._kept: _Kept | None = None
        self._compiled: Compiled | None = None

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Denoised `[B, C, H, W]`, in the dtype of the parameters (float32).

        Args:
            x: noisy images `[B, C, H, W]`.
            sigma: noise levels `[B]`.
            cond: class index `[B]` int64, or class weights `[B, classes]`; None feeds zeros, which is not the same as
                an unconditional net.
        """
        shape = (self.image_channels, self.resolution_px, self.resolution_px)
        labelled = cond is None or not self.classes or cond.shape[:1] == sigma.shape
        if x.shape[1:] != shape or sigma.shape != x.shape[:1] or not labelled:
            given = None if cond is None else tuple(cond.shape)
            raise ValueError(
                f"Edm2: given x {tuple(x.shape)}, sigma {tuple(sigma.shape)}, cond {given}; "
                f"wanted {['B', *shape]}, [B], [B]"
            )
        dtype = self.unet.out_gain.dtype
        x, sigma = x.to(dtype), sigma.to(dtype)
        mask = self._mask(sigma)
        overwrite = not torch.is_grad_enabled()
        if self._compiled is None or mask is not None:
            return self._denoise(x, sigma, cond, self._weights(), mask, overwrite)
        return self._compiled(x, sigma, cond, self._weights(), overwrite)

    def logvar(self, sigma: Tensor) -> Tensor:
        """Log-variance `[B]` of the loss at noise levels `sigma [B]`, which weights it during training.

        Source: Karras et al. 2024, arXiv:2312.02696, eq. 16.
        """
        sigma = sigma.to(self.logvar_linear.weight.dtype)
        features = self.logvar_fourier(coefficients(sigma, self.sigma_data).c_noise)
        return functional.linear(features, self.logvar_linear.effective(force=self.training))[:, 0]

    def compiled(self, **options: Any) -> "Edm2":
        """The same net, sharing its parameters, evaluated through `torch.compile` (`options` are passed on).

        Building takes half a CPU minute or more per mode and batch size, and again after each change of the weights.
        Evaluations with dropout are not compiled.
        """
        from guidelab.nets.edm2_compiled import Compiled  # the compiler takes a while to import

        fast = copy.copy(self)
        fast._compiled = Compiled(fast, options)
        return fast

    def in_half(self, dtype: torch.dtype) -> "Edm2":
        """The same net, sharing its parameters, with activations and convolution weights of `dtype` (a half precision)."""
        from guidelab.nets.edm2_lowered import LoweredEdm2  # it is a subclass of this one

        return LoweredEdm2.of(self, dtype)

    def _denoise(
        self,
        x: Tensor,
        sigma: Tensor,
        cond: Tensor | None,
        weights: UNetWeights,
        mask: Mask | None,
        overwrite: bool,
    ) -> Tensor:
        def raw(scaled: Tensor, c_noise: Tensor, cond: Tensor | None) -> Tensor:
            small = scaled if self.patch_px == 1 else functional.pixel_unshuffle(scaled, self.patch_px)
            patches = small.permute(0, 2, 3, 1)
            image = torch.cat([patches, torch.ones_like(patches[..., :1])], dim=-1)
            out = self.unet.run(image, c_noise, cond, weights, mask, overwrite).permute(0, 3, 1, 2)
            return out if self.patch_px == 1 else functional.pixel_shuffle(out, self.patch_px)

        return precondition(raw, self.sigma_data)(x, sigma, cond).contiguous()

    def _weights(self) -> UNetWeights:
        """Effective weights: fresh where a gradient may flow to the parameters, else kept until one changes."""
        if self.training:
            return self.unet.weights(force=True)
        parameters = list(self.unet.parameters())
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
            return self.unet.weights()
        # in-place updates count too; tensors of inference mode do not count theirs, and cannot be updated outside it
        state = [(p.data_ptr(), 0 if p.is_inference() else p._version, p.dtype) for p in parameters]
        if self._kept is None or self._kept.state != state:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = _Kept(state, self.unet.weights(), [p.detach() for p in parameters])
        return self._kept.weights

    def _mask(self, sigma: Tensor) -> Mask | None:
        drop = self.dropout
        if callable(drop):
            hook: Dropout = drop

            def masked(block: int, y: Tensor) -> Tensor:
                nchw = y.permute(0, 3, 1, 2)
                return y * hook(block, sigma, tuple(nchw.shape)).to(y).permute(0, 2, 3, 1)

            return masked
        if not self.training or drop == 0:
            return None
        keep = 1 - drop

        def dropped(block: int, y: Tensor) -> Tensor:
            return y * torch.empty_like(y).bernoulli_(keep, generator=self.dropout_generator).div_(keep)

        return dropped

    def train(self, mode: bool = True) -> "Edm2":
        """Set training or evaluation mode; kept weights are dropped."""
        self._kept = None
        super().train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Edm2":
        self._kept = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _check_style(style: Style, lean: bool) -> None:
    taps, clip = style.resample_filter, style.clip_act
    shares = style[:4]
    if not all(0 <= share <= 1 for share in shares) or not (clip is None or clip > 0):
        raise UserError(
            f"net edm2: given balances {shares}, clip_act={clip}; wanted 0 to 1, and above 0 or null"
        )
    if len(taps) % 2 or not taps or sum(taps) == 0 or (lean and taps != PLAIN):
        raise UserError(
            f"net edm2: given resample_filter={list(taps)}; wanted an even number of taps{', of a lean net 1, 1' * lean}"
        )
