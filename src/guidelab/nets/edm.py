"""EDM's networks of 2022 (DDPM++, NCSN++, ADM) under its four preconditionings, as denoisers.

Source: Karras et al. 2022, arXiv:2206.00364; the network inside carries the released parameter names.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.core.denoiser import per_sample
from guidelab.errors import UserError
from guidelab.nets.edm_blocks import Mask
from guidelab.nets.edm_dhariwal import DhariwalUNet
from guidelab.nets.edm_precond import precond_of
from guidelab.nets.edm_song import SongUNet

Dropout = Callable[
    [int, Tensor, tuple[int, ...]], Tensor
]  # (block, sigma [B], shape [B, C, H, W]) -> mask of that shape

# settings that distinguish the architectures of Song et al. (Karras et al. 2022, table 1 and appendix F.1); ADM has none of it
SONG: Mapping[str, Mapping[str, Any]] = {
    "ddpmpp": {
        "embedding": "positional",
        "encoder": "standard",
        "decoder": "standard",
        "resample_filter": (1, 1),
        "noise_mult": 1,
    },
    "ncsnpp": {
        "embedding": "fourier",
        "encoder": "residual",
        "decoder": "standard",
        "resample_filter": (1, 3, 3, 1),
        "noise_mult": 2,
    },
}
ARCHITECTURES = (*SONG, "adm")


class Edm(nn.Module):
    """Denoiser `D(x, sigma, cond)` of a raw network `unet` and a preconditioning `precond`.

    Args:
        resolution_px: height and width of the images.
        image_channels: their channels.
        classes: number of labels; 0 for an unconditional net, which ignores the labels it is given.
        architecture: `ddpmpp`, `ncsnpp` or `adm`.
        precond: `edm`, `vp`, `ve` or `iddpm`.
        channels: channels that `channel_mult`, one whole number per level, multiplies.
        blocks: residual blocks per level of the encoder; the decoder has one more.
        attention_px: resolutions with attention; the bottom of the net always has it. ADM attends only in blocks of
            at least 64 channels (one head per 64).
        dropout: probability of dropping an activation before the second convolution of a block in training. The
            attribute may be replaced by a mask function, which then acts in evaluation too (see `Dropout`).
        augment_dim: length of the augmentation labels, 0 for none.
        sigma_data: std of the data, for the preconditioning `edm`.
        emb_mult: length of the embedding, as a multiple of `channels`.
        embedding, encoder, decoder, resample_filter, noise_mult: other than the architecture has them (`SONG`);
            `embedding` is `positional` or `fourier`, `encoder` is `standard`, `skip` or `residual`, `decoder` is
            `standard` or `skip`, `noise_mult` the channels of the noise embedding as a multiple of `channels`.
        label_dropout: probability of hiding a label in training.
        precond_options: constants of the preconditioning by their names in `guidelab.nets.edm_precond`.
        generator: source of the initial weights; the global one when None.
    Raises:
        UserError: names that are not known, or sizes that do not fit together.
    Source: Karras et al. 2022, arXiv:2206.00364, table 1.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int,
        architecture: str,
        precond: str,
        channels: int,
        channel_mult: Sequence[int],
        blocks: int,
        attention_px: Sequence[int],
        dropout: float = 0.0,
        augment_dim: int = 0,
        sigma_data: float = 0.5,
        emb_mult: int = 4,
        embedding: str | None = None,
        encoder: str | None = None,
        decoder: str | None = None,
        resample_filter: Sequence[float] | None = None,
        noise_mult: int | None = None,
        label_dropout: float = 0.0,
        precond_options: Mapping[str, float] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(resolution_px, architecture, channels, channel_mult, blocks)
        self.resolution_px, self.image_channels, self.classes = resolution_px, image_channels, classes
        self.augment_dim, self.label_dropout, self.sigma_data = augment_dim, label_dropout, sigma_data
        self.dropout: float | Dropout = dropout
        self.dropout_generator: torch.Generator | None = (
            None  # of the masks in training; the global one when None
        )
        options = dict(precond_options or {})
        self.precond = precond_of(
            precond, {"sigma_data": sigma_data, **options} if precond == "edm" else options
        )
        out_channels = image_channels * self.precond.outputs_per_channel
        given = {
            "embedding": embedding,
            "encoder": encoder,
            "decoder": decoder,
            "resample_filter": resample_filter,
            "noise_mult": noise_mult,
        }
        given = {name: value for name, value in given.items() if value is not None}
        sizes = (
            resolution_px,
            image_channels,
            out_channels,
            classes,
            channels,
            channel_mult,
            blocks,
            attention_px,
        )
        if architecture == "adm":
            if given:
                raise UserError(
                    f"net edm: given {', '.join(given)} with architecture 'adm', which has no such choices"
                )
            self.unet: SongUNet | DhariwalUNet = DhariwalUNet(*sizes, augment_dim, emb_mult, generator)
        else:
            style: dict[str, Any] = {**SONG[architecture], **given}
            self.unet = SongUNet(*sizes, augment_dim, emb_mult, **style, generator=generator)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Lowest and highest noise level the net is made for; samplers stay inside."""
        return self.precond.sigma_range

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest noise levels the net knows, any shape; only those of `iddpm` are not all levels."""
        return self.precond.round_sigma(sigma)

    def forward(
        self, x: Tensor, sigma: Tensor, cond: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Denoised `[B, C, H, W]`, in float32 (float64 if the parameters are).

        Args:
            x: noisy images `[B, C, H, W]`.
            sigma: noise levels `[B]`.
            cond: class index `[B]` int64, or class weights `[B, classes]`; None feeds zeros, which is not the same as
                an unconditional net.
            augment_labels: `[B, augment_dim]`, what training did to the images; None for nothing.
        Raises:
            ValueError: shapes that do not fit.
        """
        self._check_shapes(x, sigma, cond, augment_labels)
        inner = self.unet.map_layer0.weight.dtype
        # a net in half precision still gets its noise level, and combines its output, in float32
        outer = torch.float64 if inner == torch.float64 else torch.float32
        x, sigma = x.to(outer), sigma.to(outer)
        c = self.precond.coefficients(sigma)
        scaled = (per_sample(c.c_in, x) * x).to(inner)
        labels = self._labels(cond, x)
        raw = self.unet(scaled, c.c_noise, labels, augment_labels, self._mask(sigma))
        estimate = raw[:, : self.image_channels].to(outer)
        return torch.addcmul(per_sample(c.c_skip, x) * x, per_sample(c.c_out, x), estimate)

    def _check_shapes(
        self, x: Tensor, sigma: Tensor, cond: Tensor | None, augment_labels: Tensor | None
    ) -> None:
        shape = (self.image_channels, self.resolution_px, self.resolution_px)
        labelled = cond is None or not self.classes or cond.shape[:1] == sigma.shape
        augment_shape = (len(x), self.augment_dim)
        augmented = augment_labels is None or not self.augment_dim or augment_labels.shape == augment_shape
        if x.shape[1:] != shape or sigma.shape != x.shape[:1] or not labelled or not augmented:
            given = [None if t is None else tuple(t.shape) for t in (x, sigma, cond, augment_labels)]
            raise ValueError(
                f"Edm: given x {given[0]}, sigma {given[1]}, cond {given[2]}, augment_labels {given[3]}; "
                f"wanted {['B', *shape]}, [B], [B], {['B', self.augment_dim]}"
            )

    def _labels(self, cond: Tensor | None, x: Tensor) -> Tensor | None:
        if cond is None or not self.classes or not self.training or self.label_dropout == 0:
            return cond
        weights = cond if cond.is_floating_point() else functional.one_hot(cond, self.classes).to(x)
        shown = torch.empty(len(x), 1, dtype=x.dtype, device=x.device)
        return weights * shown.bernoulli_(1 - self.label_dropout, generator=self.dropout_generator)

    def _mask(self, sigma: Tensor) -> Mask | None:
        drop = self.dropout
        if callable(drop):
            hook: Dropout = drop
            return lambda block, y: y * hook(block, sigma, tuple(y.shape)).to(y)
        if not self.training or drop == 0:
            return None
        keep = 1 - drop

        def dropped(block: int, y: Tensor) -> Tensor:
            return y * torch.empty_like(y).bernoulli_(keep, generator=self.dropout_generator).div_(keep)

        return dropped


def _check(
    resolution_px: int, architecture: str, channels: int, channel_mult: Sequence[int], blocks: int
) -> None:
    """Raise UserError for sizes that make no net."""
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"net edm: given architecture {architecture!r}, wanted one of {', '.join(ARCHITECTURES)}"
        )
    multiple = 1 << (len(channel_mult) - 1) if channel_mult else 1
    if not channel_mult or resolution_px % multiple or blocks < 1 or channels % 4:
        raise UserError(
            f"net edm: given resolution_px={resolution_px}, blocks={blocks}, channels={channels}; wanted a multiple of "
            f"{multiple} ({len(channel_mult)} levels), at least 1 block, a multiple of 4"
        )
