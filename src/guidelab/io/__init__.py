"""Files, arrays and tables in and out."""

from guidelab.io.arrays import load_arrays, save_arrays, wanted
from guidelab.io.csv import read_csv, write_csv
from guidelab.io.files import atomic_write, sha256
from guidelab.io.versions import torch_version

__all__ = [
    "atomic_write",
    "load_arrays",
    "read_csv",
    "save_arrays",
    "sha256",
    "torch_version",
    "wanted",
    "write_csv",
]
