"""Pretrained files: compared with the experiment, pinned, converted, listed."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from released_cases import ROOT, ROWS, S, job, listed_as, made
from typer.testing import CliRunner

from guidelab.assemble import load_net
from guidelab.checkpoints import store
from guidelab.cli.released import import_file, list_released, released_commands
from guidelab.errors import UserError
from guidelab.io import load_arrays
from guidelab.jobs import convert
from guidelab.released import extractor_of, load_rows


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_obtained_file_is_what_load_net_reads(tmp_path):
    made(tmp_path, S)
    convert.run(job(folder=tmp_path, seeds=[0, 3]), [tmp_path / "s.safetensors"])
    nets = [load_net(tmp_path / "s.safetensors", seed) for seed in (0, 3)]
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(*(net(x, torch.ones(1), torch.tensor([1])) for net in nets))
    meta = load_arrays(tmp_path / "s.safetensors")[1]
    assert meta["kind"] == "model" and meta["seeds"] == [0, 3]
    assert meta["released"]["licence"] == "CC BY-NC-SA 4.0" and len(meta["released"]["sha256"]) == 64
    assert (
        json.loads((tmp_path / "pins.json").read_text())[f"{S}.pkl"]["sha256"] == meta["released"]["sha256"]
    )


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ({"classes": 10}, "is of 4 classes, wanted 10; it was trained on other data"),
        ({"resolution_px": 64}, "holds 8 px, wanted 64 px"),
        ({"image_channels": 3}, "holds 4 channels, wanted 3 channels"),
        ({"name": "dit"}, "holds a net of the kind 'edm2', wanted a net of the kind 'dit'"),
    ],
)
def test_a_file_of_something_else_is_refused_before_anything_is_written(tmp_path, expect, says):
    made(tmp_path, S)
    with pytest.raises(UserError, match=says) as error:
        convert.run(job(folder=tmp_path, expect=expect), [tmp_path / "s.safetensors"])
    assert f"{S}.pkl" in str(error.value) and "checkpoints.csv" in str(error.value)
    assert not (tmp_path / "s.safetensors").exists()


def test_wrong_architecture_in_the_place_of_a_file(tmp_path):
    made(tmp_path, "DiT-XL-2-256x256", 4)
    (tmp_path / "pins.json").unlink()
    shutil.copy(tmp_path / "DiT-XL-2-256x256.pt", tmp_path / "256x256_diffusion.pt")
    with pytest.raises(UserError, match=r"256x256_diffusion\.pt: .*time_embed"):
        convert.run(job("adm-256", tmp_path), [tmp_path / "a.safetensors"])
    shutil.copy(tmp_path / "DiT-XL-2-256x256.pt", tmp_path / f"{S}.pkl")
    with pytest.raises(UserError, match=rf"{S}\.pkl"):
        convert.run(job(S, tmp_path), [tmp_path / "a.safetensors"])


def test_a_conditional_discriminator_is_never_taken_for_an_unconditional_one(tmp_path):
    made(tmp_path, "dg-cifar10-extractor", 16, 3, 4)
    made(tmp_path, "dg-cifar10-cond", 16, 3, 4)
    below = ROWS["dg-cifar10-extractor"].as_job()
    shape = {"name": "adm_discriminator", "resolution_px": 16, "image_channels": 3, "classes": None}
    given = job("dg-cifar10-cond", tmp_path, extractor=below, expect=shape | {"told": True})
    convert.run(given | {"as": "discriminator"}, [tmp_path / "d.safetensors"])
    net = load_net(tmp_path / "d.safetensors", 0)
    assert net(torch.randn(2, 3, 16, 16), torch.ones(2), torch.tensor([0, 1])).shape == (2,)
    assert "extractor_sha256" in load_arrays(tmp_path / "d.safetensors")[1]["released"]
    given["expect"]["told"] = False
    with pytest.raises(UserError, match="is conditional on 4 classes, wanted an unconditional one"):
        convert.run(given | {"as": "discriminator"}, [tmp_path / "d.safetensors"])
    with pytest.raises(UserError, match="give the classifier whose features it reads"):
        convert.run(given | {"extractor": None}, [tmp_path / "d.safetensors"])


def test_discriminators_of_two_releases_do_not_mix(tmp_path):
    """Both releases call their extractor 32x32_classifier.pt."""
    made(tmp_path, "dg-imagenet256-extractor", 8, 4, 4)
    made(tmp_path, "dg-cifar10-cond", 32, 3, 4)
    given = job("dg-cifar10-cond", tmp_path, extractor=ROWS["dg-imagenet256-extractor"].as_job())
    with pytest.raises(UserError, match=r"discriminator_250\.pt"):
        convert.run(given | {"as": "discriminator"}, [tmp_path / "d.safetensors"])


def test_a_missing_file_is_named_with_its_address_and_folder(tmp_path):
    with pytest.raises(UserError) as error:
        convert.run(job(folder=tmp_path / "here"), [tmp_path / "a.safetensors"])
    assert f"fetch {S}.pkl (about 560 MB) from https://nvlabs-fi-cdn.nvidia.com/edm2/" in str(error.value)
    assert str(tmp_path / "here" / f"{S}.pkl") in str(error.value)


def test_a_replaced_file_is_noticed(tmp_path):
    path = made(tmp_path, S)
    (tmp_path / "pins.json").unlink()
    found, digest = store.checked(ROWS[S], tmp_path)
    assert found == path and not store.pins(tmp_path), "looking pins nothing"
    store.pin(ROWS[S], tmp_path)
    assert store.checked(ROWS[S], tmp_path)[1] == digest == store.pins(tmp_path)[path.name]["sha256"]
    net = path.read_bytes()
    path.write_bytes(net + b" ")
    with pytest.raises(UserError, match="when it was first used") as error:
        store.locate(ROWS[S], tmp_path)
    mend = rf"delete the entry '{S}\.pkl' in .*pins\.json and results/<experiment>/obtained/"
    assert re.search(mend, str(error.value))
    path.write_bytes(net)
    assert store.locate(ROWS[S].as_job(), str(tmp_path)) == path
    with pytest.raises(UserError, match="published is 000000000000"):
        store.checked(replace(ROWS[S], sha256="0" * 64), tmp_path)
    with pytest.raises(UserError, match="published are 7"):
        store.checked(replace(ROWS[S], bytes=7), tmp_path)
    (tmp_path / "pins.json").write_text("[")
    with pytest.raises(UserError, match=r"pins\.json: cannot be read"):
        store.locate(ROWS[S], tmp_path)


def test_import_writes_weights_and_what_they_are(tmp_path, monkeypatch):
    made(tmp_path, S)
    listed_as(monkeypatch)
    target, about = import_file(S, tmp_path / "s.safetensors", folder=str(tmp_path))
    assert load_net(target, 0).classes == 4
    told = json.loads((tmp_path / "s.json").read_text())
    assert told == json.loads(json.dumps(about)) and told["config"]["name"] == "edm2"
    assert told["released"]["url"].startswith("https://") and told["parameters"] > 1000
    by_path, _ = import_file(str(tmp_path / f"{S}.pkl"), tmp_path / "t.safetensors")
    assert load_arrays(by_path)[1]["released"]["name"] == S
    own = shutil.copy(tmp_path / f"{S}.pkl", tmp_path / "mine.pkl")
    with pytest.raises(UserError, match="--format"):
        import_file(str(own), tmp_path / "m.safetensors")
    assert import_file(str(own), tmp_path / "m.safetensors", format="edm2_pickle")[0].exists()
    assert "mine.pkl" not in store.pins(tmp_path), "a file of the user's own is not pinned"
    with pytest.raises(UserError, match="is the file itself"):
        import_file(str(own), Path(own), format="edm2_pickle")
    with pytest.raises(UserError, match=f"did you mean '{S}'"):
        import_file("edm2-img512-s-2147483-0.13", tmp_path / "m.safetensors")


def test_a_file_that_is_not_its_row_is_never_pinned(tmp_path, monkeypatch):
    made(tmp_path, S)
    (
        tmp_path / "pins.json"
    ).unlink()  # 8 px, 16 channels, 4 classes; the row: 64 px, 192 channels, 1000 classes
    for shape in ({"resolution_px": 64}, {"image_channels": 3}, {"classes": 1000}, {"channels": 192}):
        listed_as(monkeypatch, **shape)
        for given in (S, str(tmp_path / f"{S}.pkl")):
            with pytest.raises(
                UserError, match=rf"is not {S} of .* wanted {next(iter(shape.values()))}.*Nothing was"
            ):
                import_file(given, tmp_path / "s.safetensors", folder=str(tmp_path))
    assert store.pins(tmp_path) == {} and not (tmp_path / "s.safetensors").exists()
    listed_as(monkeypatch)
    import_file(S, tmp_path / "s.safetensors", folder=str(tmp_path))
    assert set(store.pins(tmp_path)) == {f"{S}.pkl"}


def test_import_of_two_files_of_one_name(tmp_path, monkeypatch):
    listed_as(monkeypatch, 16, 3)
    made(tmp_path, "dg-cifar10-extractor", 16, 3, 4)
    path = tmp_path / "dg-cifar10/32x32_classifier.pt"
    assert import_file(str(path), tmp_path / "a.safetensors")[1]["released"]["name"] == "dg-cifar10-extractor"
    shutil.copy(path, tmp_path / path.name)
    with pytest.raises(UserError, match="may be dg-cifar10-extractor or dg-imagenet256-extractor"):
        import_file(str(tmp_path / path.name), tmp_path / "a.safetensors")


def test_commands(tmp_path, monkeypatch):
    made(tmp_path, S)
    listed_as(monkeypatch)
    folder = ["--folder", str(tmp_path)]
    run = CliRunner().invoke
    shown = run(released_commands, ["released", S, "adm-256", *folder])
    assert shown.exit_code == 0 and f"{S} " in shown.output and "absent: https://openaipublic" in shown.output
    lacking = run(released_commands, ["released", "--absent", S, "adm-256", *folder])
    assert (
        "fetch 256x256_diffusion.pt (about 2,215 MB) from" in lacking.output and f"{S}:" not in lacking.output
    )
    done = run(released_commands, ["import", S, "-o", str(tmp_path / "s.safetensors"), *folder])
    assert done.exit_code == 0 and "edm2" in done.output, done.output
    assert [s.there for s in list_released([S], str(tmp_path))] == [True]
    assert isinstance(run(released_commands, ["released", "nothing-like-it", *folder]).exception, UserError)
    for command in ("import", "released", "bundle", "unbundle"):
        assert "Example" in run(released_commands, [command, "--help"]).output


def test_the_list_of_published_files():
    assert len({row.file for row in ROWS.values()}) == len(ROWS), "no two rows share a file"
    for row in ROWS.values():
        assert row.url.startswith("https://") and row.licence, row.name
        assert not row.sha256 and not row.bytes, "known only from the publisher, never guessed"
        assert (row.kind == "discriminator") == (extractor_of(row, ROWS.values()) is not None)
        if row.kind == "net" and row.format == "edm2_pickle":
            assert row.classes == (0 if "uncond" in row.name else 1000)
    for name in (
        S,
        "edm-cifar10-32x32-cond-vp",
        "adm-256",
        "adm-256-classifier",
        "DiT-XL-2-256x256",
        "sd-vae-ft-mse",
    ):
        assert "not verified" not in ROWS[name].note


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("name,kind\na,net\n", "has columns"),
        ("{h}\n{r}\n{r}\n", "stands there twice"),
        ("{h}\na,nett,adm_pt,a.pt,,,,,,,,,,\n", "did you mean 'net'"),
        ("{h}\na,net,adm_pt,../a.pt,,,,,,,,,,\n", "path inside the folder"),
        ("{h}\na,net,adm_pt,a.pt,,12x,,,,,,,,\n", "whole numbers"),
        ("{h}\na,net,adm_pt,a.pt,,,,abc,,,,,,\n", "64 hexadecimal"),
    ],
)
def test_lists_that_cannot_be(tmp_path, change, says):
    head, first = (ROOT / "workflow/resources/checkpoints.csv").read_text().splitlines()[:2]
    (tmp_path / "c.csv").write_text(change.format(h=head, r=first))
    with pytest.raises(UserError, match=says):
        load_rows(tmp_path / "c.csv")
