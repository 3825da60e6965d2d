"""Reduce an experiment to the smallest size that still runs every job of it: `scale: smoke` in params.yaml.

Names, variants, weights, samplers, feature spaces, figures and so every job stay; sizes shrink, and what is fetched from
elsewhere is synthetic. The resulting numbers have no meaning; every row names the scale.
"""

from typing import Any

from guidelab.errors import UserError

RESOLUTION_PX, LATENT_PX, CLASSES = 32, 8, 4
IMAGES = 16  # in a block of samples
SIDE = 40  # on either side of a discriminator, which validates and tests on ten or more
_NIMG, _BATCH = 96, 8  # twelve snapshots: enough to reconstruct any EMA length from two that are kept
_STEPS = 3
_NETS: dict[str, dict[str, Any]] = {
    "edm2": {"size": None, "channels": 16, "channel_mult": [1.0, 2.0], "blocks": 1},
    "edm": {"channels": 16, "channel_mult": [1, 2], "blocks": 1},
    "adm": {"channels": 32, "blocks": 1},
    "dit": {
        "width": 384,
        "depth": 1,
        "heads": 6,
    },  # the smallest width whose heads can be inferred from a file of weights
    "adm_classifier": {"channels": 32, "blocks": 1},
    "adm_discriminator": {"channels": 32, "blocks": 1},
    "small_classifier": {"channels": 8},
    "small_discriminator": {"channels": 8},
}
_LEVELS = ("edm2", "edm")  # nets with attention at chosen sides
_HALVED = (
    "adm",
    "adm_classifier",
)  # nets that end at maps of 8 px: their files do not determine the image size
_BOTTOM_PX, _MULT = 8, [1, 2, 4]


def shrink(experiment: dict[str, Any], of: str) -> dict[str, Any]:
    """A large experiment as written in params.yaml (extends resolved) -> its smoke copy.

    Args:
        experiment: all keys of the experiment.
        of: name of the experiment it is the copy of.
    Raises:
        UserError: it lacks a key that is shrunk.
    """
    e = {key: value for key, value in experiment.items() if key != "source"}
    try:
        latent = "latent" in e["dataset"]
        e["dataset"] = _dataset(e["dataset"])
        e["denoisers"] = {name: _denoiser(d, latent) for name, d in e["denoisers"].items()}
        e["models"] = {name: m | {"nimg": _NIMG} for name, m in e["models"].items()}
        e["discriminators"] = {name: _disc(d, latent) for name, d in e.get("discriminators", {}).items()}
        e["divergences"] = _divergences(e.get("divergences"))
        e["features"] = {name: _extractor(x) for name, x in e["features"].items()}
        e["sampler"] = _sampler(e["sampler"])
        e["variants"] = {name: _variant(v) for name, v in e["variants"].items()}
        e["sampling"] = e.get("sampling", {}) | {"precision": "float32", "batch": 8, "decode_batch": 4}
        blocks = {name: _seeds(seeds) for name, seeds in e["evaluate"]["blocks"].items()}
        e["evaluate"] = e["evaluate"] | {"blocks": blocks, "shard": IMAGES // 2}
        figures = {name: _figure(f) for name, f in e["paper"]["figures"].items()}
        e["paper"] = e["paper"] | {"figures": figures, "published": {}, "published_experiment": of}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"scale smoke of {of}: cannot be shrunk ({type(error).__name__}: {error})") from error
    return e


def _dataset(dataset: dict[str, Any]) -> dict[str, Any]:
    found = dataset | {"resolution_px": RESOLUTION_PX, "classes": CLASSES}
    found.pop("source", None)
    if "latent" in found:
        found["latent"] = found["latent"] | {"side_px": LATENT_PX}
    return found


def _net(net: dict[str, Any], latent: bool) -> dict[str, Any]:
    found = {key: value for key, value in (net | _NETS[net["name"]]).items() if value is not None}
    side = LATENT_PX if latent else RESOLUTION_PX
    if net["name"] in _LEVELS:
        found["attention_px"] = [side // 2]
    if net["name"] in _HALVED:
        found |= {"attention_px": [_BOTTOM_PX], "channel_mult": _MULT[: (side // _BOTTOM_PX).bit_length()]}
    return found


def _denoiser(denoiser: dict[str, Any], latent: bool) -> dict[str, Any]:
    train = {
        k: v for k, v in denoiser["train"].items() if k not in ("rampup_nimg", "microbatch", "precision")
    }
    train |= {"nimg": _NIMG, "batch": _BATCH, "decay_nimg": _NIMG, "snapshot_nimg": _BATCH}
    pixels = denoiser.get("pixels", False)
    return denoiser | {"net": _net(denoiser["net"], latent and not pixels), "train": train}


def _disc(disc: dict[str, Any], latent: bool) -> dict[str, Any]:
    train = {k: v for k, v in disc["train"].items() if k not in ("cached_draws", "precision")}
    train |= {"batch": _BATCH, "iterations": 4, "evaluate_every": 2, "validation": 0.3, "test": 0.3}
    found = disc | {"net": _net(disc["net"], latent and not disc.get("pixels", False)), "train": train}
    if "generated" in disc:
        found["generated"] = disc["generated"] | {"seeds": _seeds(disc["generated"]["seeds"], SIDE)}
    return found


def _divergences(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """Two noise bins, and a net on features that has ten of two blocks' samples for each of its parts."""
    if settings is None:
        return None
    probe = {
        "hidden": 8,
        "batch": _BATCH,
        "iterations": 4,
        "evaluate_every": 2,
        "validation": 0.33,
        "test": 0.33,
    }
    return settings | {"bins": 2, "draws": 2, "permutations": 19, "probe": settings.get("probe", {}) | probe}


def _extractor(extractor: dict[str, Any]) -> dict[str, Any]:
    if "of" in extractor:
        return extractor
    return {key: value for key, value in extractor.items() if key in ("reference", "neighbours")} | {
        "name": "tiny"
    }


def _sampler(sampler: dict[str, Any]) -> dict[str, Any]:
    return sampler | {"steps": _STEPS}


def _variant(variant: dict[str, Any]) -> dict[str, Any]:
    return variant | ({"sampler": _sampler(variant["sampler"])} if "sampler" in variant else {})


def _seeds(seeds: str, n: int = IMAGES) -> str:
    """`100000-149999` -> the first n of them."""
    first = int(str(seeds).partition("-")[0])
    return f"{first}-{first + n - 1}"


def _figure(figure: dict[str, Any] | None) -> dict[str, Any] | None:
    shown = (figure or {}).get("points")  # pairs of a label and a point: images side by side
    return figure | {"n": 4} if figure and shown and isinstance(shown[0], list) else figure
