"""Commands on a user's own files: images, numbers, and the parameters of a study."""

import errno
import json
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from sampling_jobs import write_nets

from guidelab.cli import app
from guidelab.io.shards import read_block
from guidelab.released import Row
from guidelab.sampling.pixels import rounded
from guidelab.study.drawing import sampler_of
from guidelab.study.nets import read_net
from guidelab.synthetic import pickles
from guidelab.synthetic.checkpoints import write_synthetic

ROOT = Path(__file__).parents[2]
FIXTURE = Path(__file__).parents[1] / "parity/data/edm2_cond.safetensors"
SIDE, CLASSES = 8, 4
FEW = ("--steps", "3", "--no-sheet")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Nets in EDM2's format, one of our own, and real images, as a folder and as a ZIP that is compressed."""
    root = tmp_path_factory.mktemp("own")
    for seed, (name, side, classes) in enumerate(
        (
            ("main.pkl", SIDE, CLASSES),
            ("weak.pkl", SIDE, CLASSES),
            ("blind.pkl", SIDE, 0),
            ("large.pkl", 16, CLASSES),
        )
    ):
        row = Row(name, "net", "edm2_pickle", name, "", None, None, "", "", "", None, None, None, "")
        write_synthetic(row, root, resolution_px=side, image_channels=3, classes=classes, seed=seed)
    write_nets(root)
    random = np.random.default_rng(0)
    (root / "real").mkdir()
    with zipfile.ZipFile(root / "real.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(40):
            path = root / f"real/{index:02d}.png"
            Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
            archive.write(path, path.name)
    return root


@pytest.fixture
def run(files, tmp_path, monkeypatch, capsys):
    """A command in a folder with these files; its output, or the message it ends with."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_DEVICE", "cpu")  # commands set it: this brings it back to what it was
    monkeypatch.delenv("GUIDELAB_DEVICE")

    def command(*words, refused=False):
        monkeypatch.setattr(sys, "argv", ["guidelab", *map(str, words)])
        try:
            app.main()
            ended = None
        except SystemExit as error:
            ended = error.code
        said = capsys.readouterr()
        if not refused:
            assert ended is None, ended
            return said.out
        assert isinstance(ended, str) and "\n" not in ended, ended  # one line, no traceback
        return ended

    yield command
    monkeypatch.undo()


def generated(run, *words, seeds="0-5", out="out"):
    return run("generate", "--net", "main.pkl", "--seeds", seeds, *FEW, *words, "-o", out)


def pixels(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(Path(folder).glob("*.png"))}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("sample_w1", ()),
        ("sample_w2.1", ("--guide", "guide.pkl", "--w", "2.1")),
        (
            "sample_w1.5_churn",
            ("--guide", "guide.pkl", "--w", "1.5", "--S_churn", "2.5", "--S_min", "0.1", "--S_max", "20", "--S_noise", "1.003"),
        ),
    ],
)  # fmt: skip
def test_images_are_those_of_the_released_sampler(run, output, options):
    """EDM2's own code drew the fixture; its nets in pickles of its format, its seeds, its arithmetic, with and without churn."""
    with safe_open(FIXTURE, "pt") as file:
        config = json.loads(file.metadata()["config"])
        expected = rounded(file.get_tensor(f"out/{output}")).permute(0, 2, 3, 1).int().numpy()
        seeds, labels = file.get_tensor("in/seeds").tolist(), file.get_tensor("in/sample_labels").argmax(1)
        for key, name in (("net", "net.pkl"), ("gnet", "guide.pkl")):
            prefix = f"param/{key}."
            state = {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
            buffers = {k for k in state if k.endswith(("freqs", "phases"))}
            ema = pickles.network(
                state, buffers, "Precond", config[key] | {"use_fp16": True}, {"unet": "UNet"}
            )
            pickles.write(name, pickles.Easy(ema=ema))
    run(
        "generate",
        "--net",
        "net.pkl",
        *options,
        "--seeds",
        ",".join(map(str, seeds)),
        "--steps",
        config["num_steps"],
        "-o",
        "out",
    )
    found = pixels("out")
    ours = np.stack([found[f"{seed:06d}"] for seed in seeds]).astype(int)
    assert (
        np.abs(ours - expected).max() <= 1 and (ours != expected).mean() < 1e-3
    )  # 1e-5 of the range, before rounding
    listing = json.loads(Path("out/dataset.json").read_text())
    assert dict(listing["labels"]) == {f"{s:06d}.png": int(k) for s, k in zip(seeds, labels, strict=True)}


def test_a_sample_depends_on_its_seed_alone_and_seeds_are_added(run):
    generated(run, "--guide", "weak.pkl", "--w", "2", seeds="0-2", out="some")
    before = {path.name: path.stat().st_mtime_ns for path in Path("some").glob("*.png")}
    generated(run, "--guide", "weak.pkl", "--w", "2", seeds="0-5", out="some")
    generated(run, "--guide", "weak.pkl", "--w", "2", "--batch", "1", seeds="1,3-5,0,2", out="all")
    assert same(pixels("some"), pixels("all")) and len(pixels("all")) == 6
    assert all(Path("some", name).stat().st_mtime_ns == time for name, time in before.items())
    assert not same(pixels("some"), pixels_of(run, "--guide", "weak.pkl", "--w", "1"))


def pixels_of(run, *words):
    generated(run, *words, out="other")
    return pixels("other")


def test_an_interval_a_class_and_an_unconditional_guide_act(run):
    generated(run, out="plain")
    plain = pixels("plain")
    generated(run, "--guide", "blind.pkl", "--w", "1,3", "--interval", "0.5,100", out="sweep")
    assert same(pixels("sweep/w1.00"), plain) and not same(pixels("sweep/w3.00"), plain)
    generated(run, "--class", "2", out="two")
    assert {label for _, label in json.loads(Path("two/dataset.json").read_text())["labels"]} == {2}
    labels = dict(json.loads(Path("plain/dataset.json").read_text())["labels"])
    own = [Path(name).stem for name, label in labels.items() if label == 2]
    assert own and all(np.array_equal(pixels("two")[name], plain[name]) for name in own)


def test_nets_and_a_discriminator_of_our_own_and_shards(run):
    words = ("--guide", "blind.safetensors", "--w", "2", "--shards")
    run("generate", "--net", "main.safetensors", *words, "--seeds", "0-3", *FEW, "-o", "plain")
    run(
        "generate", "--net", "main.safetensors", *words, "--discriminator", "guide.safetensors",
        "--seeds", "0-3", *FEW, "-o", "guided",
    )  # fmt: skip
    plain, guided = (read_block(f"{name}/samples.json", 0, "0-3")[0] for name in ("plain", "guided"))
    assert plain.shape == (4, 3, SIDE, SIDE) and not torch.equal(plain, guided)
    again = ("generate", "--net", "main.safetensors", *words, *FEW, "-o", "plain", "--seeds")
    run(*again, "0-3")
    assert "holds samples with blocks" in run(
        *again, "4-7", refused=True
    )  # its manifest would list these alone
    assert torch.equal(read_block("plain/samples.json", 0, "0-3")[0], plain)


@pytest.mark.parametrize(
    ("format", "net", "channels"),
    [("edm2_pickle", "edm2", 3), ("edm_pickle", "edm", 3), ("adm_pt", "adm", 3), ("dit_pt", "dit", 4)],
)
def test_the_format_of_a_file_is_inferred_from_its_content(tmp_path, format, net, channels):
    row = Row("any.bin", "net", format, "any.bin", "", None, None, "", "", "", None, None, None, "")
    path = write_synthetic(
        row, tmp_path, resolution_px=SIDE, image_channels=channels, classes=CLASSES, seed=0
    )
    found = read_net(path)
    assert (found.format, found.config["name"], found.event, found.classes) == (
        format,
        net,
        (channels, SIDE),
        CLASSES,
    )
    assert sampler_of(net, {})["name"] == ("heun" if net.startswith("edm") else "ddpm")


def test_latents_are_decoded_by_the_autoencoder_of_the_net(run):
    for name, kind, format, channels in (
        ("latent.pkl", "net", "edm2_pickle", 4),
        ("vae", "autoencoder", "vae", 3),
    ):
        row = Row(name, kind, format, name, "", None, None, "", "", "", None, None, None, "")
        side = (
            {"resolution_px": 2 * SIDE, "side_px": SIDE} if kind == "autoencoder" else {"resolution_px": SIDE}
        )
        write_synthetic(row, ".", image_channels=channels, classes=0, seed=3, **side)
    words = ("generate", "--net", "latent.pkl", "--seeds", "0-1", *FEW, "-o", "out")
    assert "give --autoencoder" in run(*words, refused=True)
    run(*words, "--autoencoder", "vae")
    assert {image.shape for image in pixels("out").values()} == {(2 * SIDE, 2 * SIDE, 3)}


def test_an_interrupted_call_leaves_no_pngs_and_goes_on(run, monkeypatch):
    from guidelab.study import pictures

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pictures, "_picture", full)
        said = run("generate", "--net", "main.pkl", "--seeds", "0-3", *FEW, "-o", "out", refused=True)
    assert "No space left" in said and not list(Path("out").glob("*.png"))
    shard = next(Path("out/.guidelab").rglob("0-3/*.safetensors"))
    drawn = shard.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(pictures, "drop", lambda work: None)
        generated(run, seeds="0-3")
    assert shard.stat().st_mtime_ns == drawn and len(pixels("out")) == 4


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_of_a_folder_a_zip_and_statistics_are_equal(run):
    generated(run, "--guide", "weak.pkl", "--w", "1,2", seeds="0-39", out="sweep")
    run("statistics", "real.zip", "--features", "tiny", "-o", "ref.npz")
    held = np.load("ref.npz")
    assert (
        held["mu"].shape == (32,) and held["sigma"].shape == (32, 32) and held["features"].shape == (40, 32)
    )
    np.testing.assert_allclose(held["mu"], held["features"].mean(0), rtol=1e-5)
    said = [
        run("evaluate", "sweep", "--reference", reference, "--features", "tiny")
        for reference in ("real", "real.zip", "ref.npz")
    ]
    assert said[0] == said[1] == said[2] and said[0].count("+-") == 8
    one = run("evaluate", "sweep/w2.00", "--reference", "real", "--features", "tiny", "-o", "one.csv")
    assert one in said[0] and Path("one.csv").read_text().count("\n") == 5


def test_third_party_statistics_give_only_the_distance(run):
    random = np.random.default_rng(0).standard_normal((200, 32))
    np.savez("theirs.npz", mu=random.mean(0), sigma=np.cov(random, rowvar=False))
    said = run("evaluate", "real", "--reference", "theirs.npz", "--features", "tiny")
    assert "fid@tiny" in said and "kid" not in said


# ---- a study ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("--guide", "weak.pkl"), 8),
        (("--guide", "blind.pkl", "--class", "1", "--S_churn", "5", "--images", "50"), 10),
        ((), 13),
        (("--guide", "weak.pkl", "--w", "1.5,3", "--interval", "0.2,5", "--features", "tiny"), 14),
    ],
)
def test_a_study_is_short_and_checked(run, words, lines):
    said = run("study", "mine", "--net", "main.pkl", "--reference", "real", *words)
    assert f"{lines} lines" in said and "results/tables/mine.csv" in said
    assert f"snakemake -s {ROOT / 'Snakefile'} -c" in said, "this folder has no Snakefile"
    text = Path("mine.yaml").read_text()
    assert "train" not in text and "checkpoints.csv" not in text
    assert "mine (reduced)" in run("check", "--params", "mine.yaml")
    job = json.loads(run("job", "obtain", "mine", "models", "main", "--params", "mine.yaml"))["job"]
    assert job["checkpoint"]["format"] == "edm2_pickle" and job["expect"]["classes"] == CLASSES
    drawn = json.loads(run("job", "sample", "mine", "none", "w1.00", "seed0", "--params", "mine.yaml"))["job"]
    assert drawn["labels"] == (1 if "--class" in words else "random")
    assert drawn["sampler"].get("S_churn", 0) == (5 if "--S_churn" in words else 0)


def test_the_job_of_the_command_has_the_keys_of_the_planned_one(run, monkeypatch):
    """Both are jobs of one rule: what one decides, the other must say too."""
    from guidelab.study import generate

    seen = []
    monkeypatch.setattr(generate, "draw", lambda job, outputs: seen.append(job))
    run(
        "generate",
        "--net",
        "main.pkl",
        "--guide",
        "weak.pkl",
        "--w",
        "2",
        "--shards",
        "--no-sheet",
        "-o",
        "out",
    )
    run("study", "mine", "--net", "main.pkl", "--guide", "weak.pkl", "--reference", "real")
    planned = json.loads(run("job", "sample", "mine", "guided", "w2.00", "seed0", "--params", "mine.yaml"))[
        "job"
    ]
    assert seen[0].keys() == planned.keys() - {"grader_blocks"}
    for key in ("sampler", "degrade", "train_seeds", "codec", "labels", "latent", "uint8", "precision"):
        renamed = json.loads(json.dumps(seen[0][key]))
        assert renamed == planned[key], key
    assert seen[0]["terms"] == planned["terms"]


# ---- bad input -------------------------------------------------------------------------------------------------------


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


@pytest.fixture
def bad(run):
    """Files that must be refused."""
    Path("hostile.pkl").write_bytes(pickle.dumps({"ema": Attack()}))
    Path("foreign.pkl").write_bytes(pickle.dumps({"weights": [1, 2]}))
    Path("page.pkl").write_text("<!doctype html><html></html>")
    Path("cut.pkl").write_bytes(Path("main.pkl").read_bytes()[:1000])
    Path("text.zip").write_text("no archive")
    Path("mixed").mkdir()
    for index, side in enumerate((8, 8, 9)):
        Image.new("RGB", (side, side)).save(f"mixed/{index}.png")
    Path("empty").mkdir()
    np.savez("wide.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(50_000_000))
    Path("held").mkdir()
    Path("held/notes.txt").write_text("mine")
    Path("taken.yaml").write_text("mine")
    return run


def _generate(*words):
    return ("generate", "--seeds", "0-3", *FEW, "-o", "out", *words)


def _evaluate(*words):
    return ("evaluate", *words, "--features", "tiny", "-o", "out")


def _study(*words):
    return ("study", "out", *words)


MAIN, REAL = ("--net", "main.pkl"), ("--reference", "real")
REFUSED = [
    (_generate("--net", "absent.pkl"), "no such file"),
    (_generate("--net", "hostile.pkl"), "nothing in the file was run"),
    (_generate("--net", "foreign.pkl"), "no network"),
    (_generate("--net", "page.pkl"), "web page"),
    (_generate("--net", "cut.pkl"), "nothing in the file was run"),
    (_generate("--net", "guide.safetensors"), "wanted a denoiser"),
    (_generate(*MAIN, "--guide", "large.pkl", "--w", "2"), "wanted the same"),
    (_generate(*MAIN, "--w", "2"), "without --guide"),
    (_generate(*MAIN, "--guide", "weak.pkl", "--w", "two"), "wanted numbers"),
    (_generate(*MAIN, "--class", "4"), "wanted 0 to 3"),
    (_generate("--net", "blind.pkl", "--class", "0"), "the net is unconditional"),
    (_generate(*MAIN, "--seeds", "5-1"), "wanted such as"),
    (_generate(*MAIN, "--seeds", "1,1"), "twice"),
    (_generate(*MAIN, "--interval", "3,1", "--guide", "weak.pkl"), "wanted LOW,HIGH"),
    (_generate(*MAIN, "--sigma-min", "100"), "--sigma-min"),
    (_generate(*MAIN, "--precision", "float8"), "--precision"),
    (_generate(*MAIN, "--device", "cuda"), "GPU"),
    (_generate(*MAIN, "--device", "abacus"), "no device"),
    (_generate(*MAIN, "--discriminator", "main.safetensors"), "wanted a discriminator"),
    (("generate", *MAIN, "-o", "held"), "holds other files"),
    (("generate", *MAIN, "-o", "hostile.pkl"), "cannot be written"),
    (_evaluate("absent", *REAL), "not there"),
    (_evaluate("empty", *REAL), "holds no images"),
    (_evaluate("mixed", *REAL), "one size"),
    (_evaluate("held", *REAL), "no images"),
    (_evaluate("text.zip", *REAL), "no readable ZIP"),
    (_evaluate("bomb.zip", *REAL), "ZIP bomb"),
    (_evaluate("real", "--reference", "wide.npz"), "same feature extractor"),
    (_evaluate("real", *REAL, "--metrics", "fdi"), "did you mean 'fid'"),
    (_evaluate("real", *REAL, "--neighbours", "40"), "more than k"),
    (("evaluate", "real", *REAL, "--features", "inception"), "inception=FILE"),
    (("evaluate", "real", *REAL, "--features", "lite1"), "did you mean 'lite0'"),
    (("statistics", "mixed", "--features", "tiny", "-o", "out.npz"), "one size"),
    (("statistics", "real", "-o", "out.txt"), ".npz"),
    (_study(*MAIN, "--reference", "empty"), "holds no images"),
    (_study("--net", "hostile.pkl", *REAL), "nothing in the file was run"),
    (_study(*MAIN, *REAL, "--guide", "large.pkl"), "wanted the same"),
    (_study(*MAIN, *REAL, "--class", "9"), "label_policy"),
    (("study", "taken", *MAIN, *REAL), "is there already"),
    (("study", "../x", *MAIN, *REAL), "wanted a name"),
]


@pytest.mark.parametrize(
    ("words", "wanted"),
    REFUSED,
    ids=lambda value: "-".join(map(str, value))[:60] if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_line_and_nothing_is_written(bad, words, wanted):
    before = sorted(path.name for path in Path().iterdir())
    assert wanted in bad(*words, refused=True)
    assert sorted(path.name for path in Path().iterdir()) == before and not Path("owned").exists()
    assert sorted(path.name for path in Path("held").iterdir()) == ["notes.txt"]
