"""Bundles for clusters without internet: what arrives is what was packed, and nothing else is written."""

import hashlib
import io
import json
import tarfile
import time
from pathlib import Path

import pytest

from guidelab.checkpoints import store
from guidelab.cli.bundle import pack, unpack
from guidelab.errors import UserError
from guidelab.released import load_rows
from guidelab.synthetic.checkpoints import write_synthetic

ROOT = Path(__file__).parents[2]
NAMES = ("edm2-img512-s-2147483-0.130", "dg-cifar10-extractor", "ref-cifar10")


@pytest.fixture
def packed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = load_rows()
    for name in NAMES:
        shape = {"resolution_px": 8, "image_channels": 3, "classes": 4, "seed": 0}
        write_synthetic(rows[name], tmp_path / "here", **shape)
    pack([rows[name] for name in NAMES], tmp_path / "b.tar", "imagenet512", str(tmp_path / "here"))
    return tmp_path


def there(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def changed(path: Path, edit) -> Path:
    """The bundle with its members edited: `edit(members: dict name -> (TarInfo, bytes))`."""
    with tarfile.open(path) as tar:
        members = {m.name: (m, tar.extractfile(m).read()) for m in tar.getmembers()}
    edit(members)
    with tarfile.open(path, "w") as tar:
        for name, (info, content) in members.items():
            info.name = name
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(members, name, content):
    """Also write a member into the manifest, as an attacker would."""
    info, text = members["manifest.json"]
    manifest = json.loads(text)
    manifest["members"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    members["manifest.json"] = info, json.dumps(manifest).encode()


def test_what_arrives_is_what_was_packed(packed):
    put = unpack(packed / "b.tar", str(packed / "there"))
    assert len(put) == 3
    ours, theirs = (there(packed / side) for side in ("here", "there"))
    assert {k: v for k, v in ours.items() if "pins" not in k} == {
        k: v for k, v in theirs.items() if "pins" not in k
    }
    assert store.pins(packed / "there") == {}, "a bundle never pins"
    assert unpack(packed / "b.tar", str(packed / "there")) == [], "a second time changes nothing"


def test_all_missing_files_are_named(packed):
    rows = load_rows()
    with pytest.raises(UserError, match=r"lacks 2 of 3 files.*256x256_diffusion.*DiT-XL"):
        pack(
            [rows[n] for n in (NAMES[0], "adm-256", "DiT-XL-2-256x256")],
            packed / "c.tar",
            "",
            str(packed / "here"),
        )
    assert not (packed / "c.tar").exists()


def test_nothing_is_overwritten(packed):
    target = packed / "there" / "cifar10-32x32.npz"
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(UserError, match="another file is there already"):
        unpack(packed / "b.tar", str(packed / "there"))
    assert target.read_text() == "mine"


def link(kind):
    def edit(members):
        info = tarfile.TarInfo("files/link")
        info.type, info.linkname = kind, "/etc/passwd"
        members["files/link"] = info, b""
        listed(members, "files/link", b"")

    return edit


def named(name, in_manifest=True):
    def edit(members):
        members[name] = tarfile.TarInfo(name), b"content"
        if in_manifest:
            listed(members, name, b"content")

    return edit


def damaged(members):
    name = next(n for n in members if n.endswith(".npz"))
    info, content = members[name]
    members[name] = info, content[:-1] + bytes([content[-1] ^ 1])


def other_rows(members):
    info, content = members["rows.csv"]
    content = content.replace(b"https://nvlabs-fi-cdn.nvidia.com", b"https://elsewhere.example")
    members["rows.csv"] = info, content
    listed(members, "rows.csv", content)


def unknown_row(members):
    info, content = members["rows.csv"]
    content += (
        content.splitlines(keepends=True)[-1]
        .replace(b"ref-cifar10", b"mine")
        .replace(b"cifar10-32x32.npz", b"pins.json")
    )
    members["rows.csv"] = info, content
    listed(members, "rows.csv", content)
    named("files/pins.json")(members)


def manifest(content):
    def edit(members):
        members["manifest.json"] = members["manifest.json"][0], content

    return edit


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (link(tarfile.SYMTYPE), "something other than a plain file"),
        (link(tarfile.LNKTYPE), "something other than a plain file"),
        (link(tarfile.CHRTYPE), "something other than a plain file"),
        (link(tarfile.DIRTYPE), "something other than a plain file"),
        (named("files/../../outside"), "leads out of its folder"),
        (named("/tmp/outside"), "leads out of its folder"),
        (named("files/x", in_manifest=False), "does not hold what its manifest lists"),
        (named("src/x.py"), "belongs to no bundle"),
        (lambda members: members.pop("rows.csv"), "does not hold what its manifest lists"),
        (lambda members: members.pop("manifest.json"), "does not begin with manifest.json"),
        (damaged, "another content than its manifest says"),
        (other_rows, "describes .* differently"),
        (named("pins.json"), "belongs to no bundle"),
        (named("files/pins.json"), "belongs to no bundle"),
        (named("files/pins.json.lock"), "belongs to no bundle"),
        (named("files/cifar10-32x32.npz/x"), "belongs to no bundle"),
        (named("files/DiT-XL-2-256x256.pt"), "belongs to no bundle"),
        (named("files/.bashrc"), "belongs to no bundle"),
        (named("files/\x1b[31mred"), "leads out of its folder"),
        (unknown_row, "does not list"),
        (manifest(b"[1]"), "lists no members"),
        (manifest(b'{"members": [1], "version": 2}'), "lists no members"),
        (manifest(b'{"members": {"rows.csv": 1}, "version": 2}'), "lists no members"),
        (manifest(b'{"members": {}, "version": 1}'), "another version"),
        (manifest(b"[" * 100_000), "no readable bundle"),
        (manifest(b"\xff"), "no readable bundle"),
    ],
)
def test_bundles_made_to_do_harm(packed, edit, says):
    path = changed(packed / "b.tar", edit)
    with pytest.raises(UserError, match=says) as error:
        unpack(path, str(packed / "there"))
    assert "b.tar" in str(error.value)
    if (packed / "there").exists():
        known = {row.file for name, row in load_rows().items() if name in NAMES}
        assert set(there(packed / "there")) <= known, "nothing but files of its rows was written, and no pins"
    assert {p.name for p in packed.iterdir()} <= {"here", "there", "b.tar"}


@pytest.mark.parametrize("step", [0.0, 0.1, 0.5, 0.9])
def test_bundles_cut_short(packed, step):
    path = packed / "b.tar"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * step)])
    with pytest.raises(UserError, match=r"b\.tar"):
        unpack(path, str(packed / "there"))


def test_sparse_members_claim_no_more_than_the_bundle(packed):
    with tarfile.open(packed / "c.tar", "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 1 << 40
        tar.fileobj.write(info.tobuf() + b"{}")
    with pytest.raises(UserError, match=r"c\.tar"):
        unpack(packed / "c.tar", str(packed / "there"))


def header(kind: bytes, name: str = "x", size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def test_an_extended_header_never_keeps_unpacking_busy(packed):
    digits = b"9" * 200_000 + b" size=1\n"
    path = packed / "c.tar"
    path.write_bytes(
        header(tarfile.XHDTYPE, size=len(digits)) + digits.ljust(512 * 391, b"\0") + header(tarfile.REGTYPE)
    )
    start = time.process_time()
    with pytest.raises(UserError, match=r"c\.tar: .*extended header of 2000\d\d bytes"):
        unpack(path, str(packed / "there"))
    path.write_bytes(header(tarfile.REGTYPE, "manifest.json") + header(tarfile.REGTYPE) * 300_000)
    with pytest.raises(UserError, match=r"c\.tar: .*more than 10000 files"):
        unpack(path, str(packed / "there"))
    path.write_bytes(
        header(tarfile.XHDTYPE, size=12) + b"12 size=-99\n".ljust(512, b"\0") + header(tarfile.REGTYPE)
    )
    with pytest.raises(UserError, match=r"c\.tar: "):
        unpack(path, str(packed / "there"))
    assert time.process_time() - start < 5
