"""Names that jobs carry from params.yaml, for tests that call the functions of paper/ without a job; nets that several files share."""

import pytest

from guidelab.paper import names

_GUIDES, _DEGRADED = "Choice of the weak model", "Degraded main model"
_TRAINED, _AVERAGED = "Training of the discriminator", "Length of the average (EMA)"
_WORDS = {  # variant -> label, method, group
    "validation": ("validation images", "no guidance", None),
    "none": ("no guidance", "no guidance", None),
    "adm": ("ADM, no guidance", "no guidance", None),
    "dit": ("DiT, no guidance", "no guidance", None),
    "truncation": ("naive truncation", "naive truncation", None),
    "cfg": ("CFG", "CFG", None),
    "cfg_interval": ("CFG, interval", "CFG", None),
    "cfg_apg": ("CFG, projected (APG)", "CFG", None),
    "icg": ("independent condition (ICG)", "ICG", None),
    "cg": ("classifier guidance (CG)", "CG", None),
    "autog": ("autoguidance", "autoguidance", None),
    "dg": ("discriminator (DG)", "DG", None),
    "dg_first": ("DG, first stage", "DG", None),
    "dg_frozen": ("DG, frozen classifier", "DG", None),
    "dg_autog": ("DG + autoguidance", "several terms", None),
    "dg_cfg": ("DG + CFG", "several terms", None),
    "cfg_autog": ("CFG + autoguidance", "several terms", None),
    "cg_dg": ("CG + DG", "several terms", None),
    "cfg_dg": ("CFG + DG", "several terms", None),
    "autog_t4": ("guide: 1/4 of training", "autoguidance", _GUIDES),
    "autog_t16": ("guide: 1/16 of training", "autoguidance", _GUIDES),
    "autog_xs": ("guide: smaller", "autoguidance", _GUIDES),
    "autog_xs_t8": ("guide: smaller, 1/8", "autoguidance", _GUIDES),
    "autog_xs_t16": ("guide: smaller, 1/16", "autoguidance", _GUIDES),
    "autog_ema": ("guide: longer EMA", "autoguidance", _GUIDES),
    "autog_drop": ("guide: trained with dropout", "autoguidance", _GUIDES),
    "dropout": ("dropout in both", "autoguidance", _DEGRADED),
    "input_noise": ("input noise in both", "autoguidance", _DEGRADED),
    "mismatched": ("dropout, guide input noise", "autoguidance", _DEGRADED),
    "drop5": ("dropout 5 %, no guidance", "no guidance", _DEGRADED),
    "dg_it120": ("DG, 120 iterations", "DG", _TRAINED),
    "dg_it480": ("DG, 480 iterations", "DG", _TRAINED),
    "none_fd": ("no guidance (tuned for FD)", "no guidance", None),
    "cfg_fd": ("CFG (tuned for FD)", "CFG", None),
    "autog_fd": ("autoguidance (tuned for FD)", "autoguidance", None),
    **{
        f"{of}_ema{k}": (f"{of}'s EMA 0.{k}", "autoguidance", _AVERAGED)
        for of in ("main", "guide")
        for k in ("050", "150")
    },
    **{
        f"{name}_s{k}": (f"{label}, {k} steps", label, None)
        for name, label in (("autog", "autoguidance"), ("cfg", "CFG"))
        for k in (6, 18)
    },
    **{f"none_s{k}": (f"no guidance, {k} steps", "no guidance", None) for k in (6, 18)},
}
LIKE = {"none_s6": "none", "none_s18": "none"}


_LOOKS = [
    {
        "variant": name,
        "label": label,
        "section": group or names.METHODS,
        "method": method,
        "hue": group or method,
        "main": name if group == _DEGRADED or name.startswith("main_") else "main",
        "like": LIKE.get(name, name),
    }
    for name, (label, method, group) in _WORDS.items()
]
_NAMED = names.of({"looks": _LOOKS})
_NAMED.__enter__()  # for the whole session: some modules compute their cases while they are collected


@pytest.fixture(scope="module")
def small_nets(tmp_path_factory):
    """The folder of the nets that jobs of `sampling_jobs` read."""
    from sampling_jobs import write_nets  # here: it imports torch

    folder = tmp_path_factory.mktemp("nets")
    write_nets(folder)
    return folder
