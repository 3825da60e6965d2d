"""The EDM2 comparison with files of other configurations, made here by the plain implementation and a naive sampler."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import test_parity
import torch
from families import Reference, family_of
from family_edm2 import network
from safetensors.torch import save_file
from torch import Tensor

from guidelab.nets.edm2 import Edm2

_PATH = Path(__file__).parents[2] / "benchmarks" / "edm2_forward.py"
_SPEC = importlib.util.spec_from_file_location("edm2_forward", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
plain_side = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(plain_side)

_NET: dict[str, Any] = {
    "img_resolution": 8,
    "img_channels": 1,
    "label_dim": 4,
    "model_channels": 24,
    "channel_mult": [1, 3],
    "num_blocks": 2,
    "attn_resolutions": [],
    "sigma_data": 0.7,
}
_OTHER = {"img_resolution": 16, "channel_mult": [1, 2, 2.5], "num_blocks": 1, "attn_resolutions": [16, 4]}


def parameters(config: dict[str, Any], name: str, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys = ("img_resolution", "img_channels", "label_dim", "model_channels", "channel_mult", "num_blocks")
    sizes = [config[name][key] for key in keys]
    net = Edm2(*sizes, config[name]["attn_resolutions"], generator=generator)
    state = {key: value.half() for key, value in net.state_dict().items()}
    for key in state:
        if key.endswith("_gain"):
            state[key] = torch.tensor(0.4).half()
    return {f"param/{name}.{key}": value for key, value in state.items()}


def sample(
    main: Any, guide: Any, weight: float, seeds: list[int], config: dict[str, Any], churn: float
) -> Tensor:
    """EDM2's sampler as its paper writes it, in double precision between evaluations."""
    shape = config["net"]["img_channels"], *[config["net"]["img_resolution"]] * 2
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in generators]).double()

    x = draw() * 80
    classes = config["net"]["label_dim"]
    cond = torch.stack([torch.randint(classes, (), generator=g) for g in generators]) if classes else None

    def slope(x: Tensor, t: float) -> Tensor:
        level = torch.full((len(x),), t)
        out = main(x.float(), level, cond).double()
        if weight != 1:
            ref = guide(x.float(), level, cond).double()
            out = ref + weight * (out - ref)
        return (x - out) / t

    steps = config["num_steps"]
    times = [
        (80 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(steps)
    ]
    for t, below in zip(times, [*times[1:], 0.0], strict=True):
        raised = t
        if churn and 0.1 <= t <= 20:
            raised = t * (1 + min(churn / steps, math.sqrt(2) - 1))
            x = x + math.sqrt(raised**2 - t**2) * 1.003 * draw()
        first = slope(x, raised)
        ahead = x + (below - raised) * first
        x = ahead if below == 0 else x + (below - raised) * (first + slope(ahead, below)) / 2
    return x.float()


@pytest.mark.parametrize(
    ("changes", "guide"),
    [
        ({}, {"label_dim": 0}),
        (_OTHER, {"model_channels": 16, "channel_mult": [1, 4]}),
        ({"label_dim": 0}, {"label_dim": 0}),
    ],
)
def test_other_configurations_agree(changes: dict[str, Any], guide: dict[str, Any], tmp_path: Path) -> None:
    config: dict[str, Any] = {"net": {**_NET, **changes}, "num_steps": 6, "source": "made here"}
    config["gnet"] = {**config["net"], **guide}
    tensors = {**parameters(config, "net", 1), **parameters(config, "gnet", 2)}
    wide = {key: value.float() for key, value in tensors.items()}
    main, ref = (plain_side.Plain(network(wide, config, name)) for name in ("net", "gnet"))
    generator = torch.Generator().manual_seed(3)
    side, classes = config["net"]["img_resolution"], config["net"]["label_dim"]
    tensors["in/x"] = x = torch.randn(3, 1, side, side, generator=generator)
    tensors["in/sigma"] = sigma = torch.tensor([0.1, 1.0, 30.0])
    tensors["in/seeds"] = torch.tensor([4, 5, 1 << 33])
    seeds = [4, 5, 0]
    tensors["in/noise"] = torch.stack(
        [torch.randn(1, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
    cond = torch.tensor([0, classes - 1, 1]) if classes else None
    if cond is not None:
        tensors["in/class_labels"] = torch.nn.functional.one_hot(cond, classes).float()
    tensors["out/denoised"] = main(x, sigma, cond)
    tensors["out/sample_w1"] = sample(main, ref, 1.0, seeds, config, 0.0)
    tensors["out/sample_w1.7"] = sample(main, ref, 1.7, seeds, config, 0.0)
    tensors["out/sample_w1.25_churn"] = sample(main, ref, 1.25, seeds, config, 2.5)
    path = tmp_path / "edm2_other.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"config": json.dumps(config)})
    reference = Reference.load(path)
    outputs = family_of(path)(reference.tensors, reference.config)
    assert test_parity.failures(outputs, reference.pinned()) == []
    reference.tensors["in/noise"][0, 0, 0, 0] += 1e-3  # what the seeds give is not what the file says
    with pytest.raises(AssertionError, match="in/noise"):
        list(family_of(path)(reference.tensors, reference.config))
