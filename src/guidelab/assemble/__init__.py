"""Build nets, datasets and the guided denoiser from a job's part of the spec."""

from guidelab.assemble.densities import density
from guidelab.assemble.guided import Assembled, assemble
from guidelab.assemble.loading import Nets, dataset, load_net, load_nets, nets_sha256, snapshot

__all__ = [
    "Assembled",
    "Nets",
    "assemble",
    "dataset",
    "density",
    "load_net",
    "load_nets",
    "nets_sha256",
    "snapshot",
]
