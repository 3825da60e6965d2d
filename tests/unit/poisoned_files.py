"""Malicious or damaged files in every released format, and the message of reading each.

`python tests/unit/poisoned_files.py` prints the list as a table.
"""

import io
import os
import pickle
import re
import stat
import struct
import tempfile
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from guidelab.checkpoints.released import read_released
from guidelab.errors import UserError
from guidelab.nets.edm2 import Edm2
from guidelab.synthetic import pickles
from guidelab.synthetic.pickles import Easy, Named, Thing

KWARGS = {
    "img_resolution": 8, "img_channels": 3, "label_dim": 4, "model_channels": 16, "channel_mult": [1, 2],
    "num_blocks": 1, "attn_resolutions": [4], "channels_per_head": 16,
}  # fmt: skip


class Harm:
    """Calls something when it is unpickled."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


def leaves(mark: Path) -> Harm:
    return Harm(os.system, f"touch {mark}")


def ema(**changes) -> Thing:
    """EDM2's network as its file has it; `state` replaces tensors, `kwargs` settings."""
    net = Edm2(8, 3, 4, 16, [1, 2], 1, [4], head_channels=16, generator=torch.Generator().manual_seed(0))
    state = {name: tensor.half() for name, tensor in net.state_dict().items()} | changes.get("state", {})
    buffers = {name for name, _ in net.named_buffers()}
    kwargs = KWARGS | changes.get("kwargs", {})
    parts = {"unet": "UNet", "unet.enc": "ModuleDict", "unet.dec": "ModuleDict"}
    return pickles.network(state, buffers, "Precond", kwargs, parts)


def edm2(path: Path, **extra) -> Path:
    pickles.write(path, Easy(ema=extra.pop("ema", None) or ema(), dataset_kwargs=Easy(), **extra))
    return path


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def storage_of(content: Any) -> bytes:
    """Bytes where a tensor's memory should be, holding something else."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def nested(path: Path, blob: bytes) -> Path:
    """A network one of whose tensors has `blob` for memory."""

    class Writer(pickles.Writer):
        def reducer_override(self, obj):
            if isinstance(obj, pickles._Memory):
                return Named("torch.storage", "_load_from_bytes"), (blob,)
            return super().reducer_override(obj)

    with path.open("wb") as file:
        Writer(file, 4).dump(Easy(ema=ema()))
    return path


def shaped(path: Path, size: tuple[int, ...], stride: tuple[int, ...]) -> Path:
    """A tensor that claims another shape than its memory holds."""

    class Writer(pickles.Writer):
        def reducer_override(self, obj):
            found = super().reducer_override(obj)
            if isinstance(obj, torch.Tensor):
                found = found[0], (found[1][0], 0, size, stride, *found[1][4:])
            return found

    with path.open("wb") as file:
        Writer(file, 4).dump(Easy(ema=ema()))
    return path


def claiming(numbers: int) -> bytes:
    """Memory that claims to hold so many numbers."""
    found = storage_of(torch.zeros(3)._typed_storage())
    claim = b"K\x03N"  # 3, None: the end of the index entry
    assert claim in found
    return found.replace(claim, b"\x8a\x08" + struct.pack("<q", numbers) + b"N")


def with_source(path: Path, mark: Path) -> Path:
    """A file whose embedded source would leave a mark when run."""
    kept = pickles.SOURCE
    pickles.SOURCE = f"import os\nos.system('touch {mark}')\nopen({str(mark)!r}, 'w').close()\n"
    try:
        return edm2(path)
    finally:
        pickles.SOURCE = kept


def module_found(path: Path, mark: Path) -> Path:
    """A file naming a module that exists here and would leave a mark when imported."""
    (path.parent / "poison_module.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    return edm2(path, loss_fn=Named("poison_module", "Loss"))


def shared_parts(path: Path) -> Path:
    """Parts within parts, each named twice: 2^40 of them for who follows every name."""
    part = pickles._module("Block")
    for _ in range(40):
        above = pickles._module("Block")
        above.state["_modules"] |= {"a": part, "b": part}
        part = above
    top = ema()
    top.state["_modules"]["unet"] = part
    return edm2(path, ema=top)


def old_versions(path: Path) -> Path:
    top = ema()
    top.version = 7
    return edm2(path, ema=top)


def torch_file(path: Path, content: Any, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def rezipped(path: Path, change: Callable[[zipfile.ZipFile, str, bytes], bool]) -> Path:
    """A file of torch.save packed anew; `change` may write an entry itself and says so by returning True."""
    whole = io.BytesIO()
    torch.save({"w": torch.zeros(64)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if not change(new, name, old.read(name)):
                new.writestr(name, old.read(name))
    return path


def named_entry(name: str, mode: int = 0) -> Callable[[Path, Path], Path]:
    def build(path: Path, mark: Path) -> Path:
        def change(new, old_name, content):
            if old_name == "archive/version":
                entry = zipfile.ZipInfo(name)
                entry.external_attr = mode << 16
                new.writestr(entry, b"content")
            return False

        return rezipped(path, change)

    return build


def squeezed(path: Path, mark: Path) -> Path:
    def change(new, name, content):
        if "/data/" in name:
            new.writestr(name, bytes(1 << 22), compress_type=zipfile.ZIP_DEFLATED)
        return "/data/" in name

    return rezipped(path, change)


def npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def npz_claiming(path: Path, mark: Path) -> Path:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mu.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return path


class Case(NamedTuple):
    what: str
    name: str  # of the file
    format: str
    build: Callable[[Path, Path], Path]  # (path, mark that harm would leave) -> path
    says: str | None  # part of the message; None: it is read, without running anything


P, D, N, K = "edm2_pickle", "dit_pt", "reference_npz", "reference_pkl"
MU = {"mu": np.zeros(4), "sigma": np.eye(4)}
CASES = [
    Case("calls os.system", "a.pkl", P, lambda p, m: edm2(p, loss_fn=leaves(m)), "names posix.system"),
    Case("calls eval in place of a network's state", "a.pkl", P, lambda p, m: edm2(p, ema=Harm(eval, f"open({str(m)!r}, 'w')")), "names builtins.eval"),
    Case("names several unknown things", "a.pkl", P, lambda p, m: edm2(p, a=Named("os", "popen"), b=Named("some.module", "Thing")), "names os.popen, some.module.Thing"),
    Case("names a module that lies beside it", "a.pkl", P, module_found, "names poison_module.Loss"),
    Case("Python source in its objects", "a.pkl", P, with_source, None),
    Case("objects of another version", "a.pkl", P, lambda p, m: old_versions(p), "persistence version 7, wanted 6"),
    Case("a tensor's memory that calls os.system", "a.pkl", P, lambda p, m: nested(p, storage_of(leaves(m))), "as numbers alone (names posix.system)"),
    Case("a tensor's memory that is a pickle", "a.pkl", P, lambda p, m: nested(p, pickle.dumps(leaves(m))), "cut short or damaged"),
    Case("a tensor's memory that claims 2^40 numbers", "a.pkl", P, lambda p, m: nested(p, claiming(1 << 40)), "declares a tensor of 1099511627776 numbers"),
    Case("a tensor larger than its memory", "a.pkl", P, lambda p, m: shaped(p, (1 << 40,), (1,)), "in memory of"),
    Case("a tensor repeated by strides of 0", "a.pkl", P, lambda p, m: shaped(p, (1 << 20, 1 << 20), (0, 0)), "in memory of"),
    Case("a tensor of negative strides", "a.pkl", P, lambda p, m: shaped(p, (1,), (-1,)), "strides (-1,)"),
    Case("whole numbers for weights", "a.pkl", P, lambda p, m: edm2(p, ema=ema(state={"unet.out_gain": torch.tensor(1)})), "holds torch.int64, wanted floats"),
    Case("complex numbers for weights", "a.pkl", P, lambda p, m: edm2(p, ema=ema(state={"unet.out_gain": torch.tensor(1j)})), "no memory of numbers"),
    Case("weights that are not finite", "a.pkl", P, lambda p, m: edm2(p, ema=ema(state={"unet.out_gain": torch.tensor(float("nan"))})), "not finite"),
    Case("a memory slot of 2^31", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04}r\xff\xff\xff\x7f."), "memory slot 2147483647"),
    Case("bytes announced and not there", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"."), "cut short or damaged"),
    Case("a frame of 2^50 bytes", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"N."), "announces 1125899906842624 bytes"),
    Case("a tuple nested a million deep", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04}(" + b")" + b"\x85" * 1_000_000 + b"Nu."), "nested more than 500 deep"),
    Case("lists nested 200,000 deep", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b"."), "values waiting"),
    Case("half a million instructions", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04" + b"N0" * 250_000 + b"N."), "more than 300000 pickle instructions"),
    Case("parts that name each other 2^40 times", "a.pkl", P, lambda p, m: shared_parts(p), "more than 20000 parts"),
    Case("instructions of protocol 0", "a.pkl", P, lambda p, m: raw(p, pickle.dumps({"ema": leaves(m)}, 0)), "which released weights do not"),
    Case("refers to something outside", "a.pkl", P, lambda p, m: raw(p, b"\x80\x04\x8c\x01xQ."), "BINPERSID"),
    Case("changes a function it names", "a.pkl", P, lambda p, m: raw(p, b"\x80\x02cnumpy\ndtype\n}(X\x04\x00\x00\x00callNub."), "changes a function"),
    Case("settings of another network", "a.pkl", P, lambda p, m: edm2(p, ema=ema(kwargs={"model_channels": 32})), "Is it the file of another network"),
    Case("no network at all", "a.pkl", P, lambda p, m: raw(p, pickle.dumps({"G": 1}, 4)), "holds no network `ema`"),
    Case("a .pt that calls os.system", "a.pt", D, lambda p, m: torch_file(p, {"w": leaves(m)}), "as tensors alone (names posix.system)"),
    Case("an old .pt that calls os.system", "a.pt", D, lambda p, m: torch_file(p, {"w": leaves(m)}, True), "as tensors alone (names posix.system)"),
    Case("a .pt with an entry ../../x", "a.pt", D, named_entry("archive/../../x"), "leads out of its folder"),
    Case("a .pt with an entry /etc/x", "a.pt", D, named_entry("/etc/x"), "leads out of its folder"),
    Case("a .pt with a link in it", "a.pt", D, named_entry("archive/link", stat.S_IFLNK | 0o777), "as a link"),
    Case("a .pt that unpacks to far more", "a.pt", D, squeezed, "compressed"),
    Case("a .pt of something else", "a.pt", D, lambda p, m: torch_file(p, {"args": Namespace(lr=1), "steps": 3}), "holds no state dict"),
    Case("a .pt of another network", "a.pt", D, lambda p, m: torch_file(p, {"ema": {"w": torch.zeros(3)}, "args": Namespace(lr=1)}), "has no x_embedder.proj.weight"),
    Case("an .npz of Python objects", "a.npz", N, lambda p, m: npz(p, mu=np.array([leaves(m)], object)), "pickled objects"),
    Case("an .npz that claims 8 TB", "a.npz", N, npz_claiming, "claims shape"),
    Case("statistics that are no covariance", "a.npz", N, lambda p, m: npz(p, mu=np.zeros(4), sigma=-np.eye(4)), "no covariance"),
    Case("features, not statistics", "a.npz", N, lambda p, m: npz(p, arr_0=np.zeros((4, 4))), "holds no statistics"),
    Case("statistics that call os.system", "a.pkl", K, lambda p, m: raw(p, pickle.dumps({"fid": leaves(m)}, 4)), "names posix.system"),
]  # fmt: skip


def got(case: Case, folder: Path) -> tuple[str | None, Path]:
    """What reading a case says (None when it is read), and the mark that harm would have left."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "harm"
    path = case.build(folder / case.name, mark)
    mark.unlink(missing_ok=True)
    try:
        read_released(path, case.format)
    except UserError as error:
        return str(error), mark
    return None, mark


def main() -> None:
    print("| file | what it got |\n|---|---|")
    for index, case in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            said, mark = got(case, Path(folder) / str(index))
            text = "read; the source in it is measured and forgotten"
            if said is not None:
                text = re.sub(r"\{.*?\}", "...", said.split(": ", 1)[1].split(";")[0])[:160]
            print(f"| {case.what} | {text}{' AND WAS RUN' if mark.exists() else ''} |")


if __name__ == "__main__":
    main()
