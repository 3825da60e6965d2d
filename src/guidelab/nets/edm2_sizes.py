"""Named sizes of EDM2: channels of the first level; everything else is the same for all."""

from guidelab.errors import UserError, closest

# arXiv:2312.02696, table 6; XXS is arXiv:2406.02507's smallest guide (figure 3b)
CHANNELS = {"XXS": 64, "XS": 128, "S": 192, "M": 256, "L": 320, "XL": 384, "XXL": 448}
CHANNEL_MULT = (1.0, 2.0, 3.0, 4.0)


def channels_of(size: str | None, channels: int | None) -> int:
    """Channels of the first level, from a size's name or given as a number.

    Raises:
        UserError: both or neither are given, or there is no such size.
    """
    if (size is None) == (channels is None):
        raise UserError(
            f"net edm2: given size={size!r} and channels={channels!r}, wanted one of them. "
            f"Name a size ({', '.join(CHANNELS)}) or give the channels of the first level."
        )
    if channels is not None:
        return channels
    if size not in CHANNELS:
        raise UserError(
            f"net edm2: given size {size!r}, wanted one of {', '.join(CHANNELS)}{closest(str(size), list(CHANNELS))}"
        )
    return CHANNELS[size]
