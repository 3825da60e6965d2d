"""Compare the architecture of the net in a file with params.yaml, key by key."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from guidelab.nets.adm import Adm
from guidelab.nets.dit import Dit
from guidelab.nets.edm import Edm
from guidelab.nets.edm2 import Edm2
from guidelab.nets.edm2_sizes import CHANNEL_MULT, CHANNELS, channels_of
from guidelab.released import Row

_NETS = {"edm2": Edm2, "edm": Edm, "adm": Adm, "dit": Dit}  # those whose arguments have defaults
_ABSENT = "nothing"
_SIZED = re.compile(rf"edm2-img\d+-({'|'.join(CHANNELS).lower()})-")  # EDM2's names of files say the size


def differences(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Where a net is another than described: `(key, what the file holds, what was wanted)`.

    Args:
        config: of the net in a file, as the converters give it: `name` and constructor arguments.
        wanted: some of the keys of a net in params.yaml; what it leaves open is not compared.
    """
    found, expected = _plain(config, config), _plain({**wanted, "name": config["name"]}, config)
    return [
        (key, found.get(key, _ABSENT), value)
        for key, value in expected.items()
        if key != "name" and found.get(key, _ABSENT) != value
    ]


def against_row(row: Row, config: Mapping[str, Any]) -> list[str]:
    """Where a net is another than its row of checkpoints.csv says, each as `16 px, wanted 64`; empty for other files.

    Args:
        row: of the file; what it leaves open is not compared.
        config: as the readers give it: `name` and constructor arguments of a net.
    """
    if row.kind not in ("net", "classifier", "discriminator", "extractor_classifier"):
        return []
    units = {"resolution_px": "px", "image_channels": "channels", "classes": "classes"}
    wanted = {key: getattr(row, key) for key in units}
    if row.kind == "discriminator" and not config.get("classes"):
        wanted["classes"] = None  # unconditional
    found = [
        f"{config.get(key)} {unit}, wanted {wanted[key]}"
        for key, unit in units.items()
        if wanted[key] is not None and config.get(key) != wanted[key]
    ]
    size = _SIZED.match(row.name)
    if size and config.get("channels") != CHANNELS[size[1].upper()]:
        found.append(
            f"{config.get('channels')} channels of the first level, wanted {CHANNELS[size[1].upper()]}"
        )
    return found


def _plain(net: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a net in one way of writing them: no sizes by name, no tuples, attention where there are maps."""
    given = {key: value for key, value in net.items() if value is not None}
    if net is config:  # what a file does not say has the net's own default
        given = _defaults(str(config["name"])) | given
    if "size" in given:
        given["channels"] = channels_of(given.pop("size"), None)
    if (
        config["name"] == "edm2" and "channels" in given
    ):  # every size has these levels unless others are given
        given.setdefault("channel_mult", CHANNEL_MULT)
    if "attention_px" in given:
        given["attention_px"] = [px for px in _sides(config) if px in given["attention_px"]]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def _sides(config: Mapping[str, Any]) -> list[int]:
    """Sides of the maps of every level, largest first."""
    top = int(config["resolution_px"]) // int(config.get("patch_px", 1))
    return [top >> level for level in range(len(config.get("channel_mult") or CHANNEL_MULT))]


def _defaults(name: str) -> dict[str, Any]:
    if name not in _NETS:
        return {}
    arguments = inspect.signature(_NETS[name]).parameters.values()
    return {a.name: a.default for a in arguments if a.default not in (a.empty, None)}
