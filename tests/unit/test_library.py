"""`import guidelab` from an installed wheel: every example of docs/library.md, every public name, images as the workflow's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import guidelab
from guidelab.released import Row
from guidelab.synthetic.checkpoints import write_synthetic

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/library.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COPIED = {name for line in re.findall(r"^COPY (.*) \S+$", RECIPE, re.MULTILINE) for name in line.split()}
SIDE, CLASSES = 8, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with what the page reads: two pickles, a pipeline of diffusers, pictures, results."""
    root = tmp_path_factory.mktemp("library")
    for seed, name in enumerate(("main.pkl", "weak.pkl")):
        row = Row(name, "net", "edm2_pickle", name, "", None, None, "", "", "", None, None, None, "")
        write_synthetic(row, root, resolution_px=SIDE, image_channels=3, classes=CLASSES, seed=seed)
    random = np.random.default_rng(0)
    (root / "pictures").mkdir()
    for index in range(12):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"pictures/{index:02d}.png")
    (root / "results/toy2d").mkdir(parents=True)
    for name in ("measurements.csv", "selected.csv"):
        shutil.copy(ROOT / "results/toy2d" / name, root / "results/toy2d")
    pipeline("v_prediction").save_pretrained(root / "pipeline")
    return root


def pipeline(prediction):
    from guidelab.metrics.torchvision_repair import import_torchvision

    import_torchvision()
    import diffusers

    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=SIDE, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, num_class_embeds=CLASSES,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(prediction_type=prediction))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, installed into an empty folder."""
    root = tmp_path_factory.mktemp("wheel")
    (root / "tree").mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:  # what the container is built from is enough
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / "tree" / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, root / "tree" / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-cache-dir"]
    offline = ["--no-index", "--no-deps"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", root, root / "tree"], check=True)
    (wheel,) = root.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--no-compile", "--target", root / "site", wheel], check=True)
    return root / "site"


def test_the_examples_run_from_the_wheel(files, installed):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GUIDELAB")}
    environment |= {"PYTHONPATH": str(installed), "GUIDELAB_DEVICE": "cpu"}
    check = f"\nassert guidelab.__file__.startswith({str(installed)!r}), guidelab.__file__\n"
    names = "from guidelab.project import resource, root\nassert resource('workflow/resources/published.csv').startswith(str(root()))\n"
    done = subprocess.run(
        [sys.executable, "-c", CODE + check + names],
        cwd=files,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "toy3d" in done.stdout and "snakemake" in done.stdout


def test_the_container_installs_the_lock_and_then_the_package_alone():
    runs = [line.split("install ", 1)[1] for line in RECIPE.splitlines() if " pip install " in line]
    assert runs == [
        "--no-cache-dir --requirement requirements.lock",
        "--no-cache-dir --no-deps --no-build-isolation .",
    ]
    assert RECIPE.index("COPY requirements.lock") < RECIPE.index("--requirement") < RECIPE.index("COPY src")
    lock = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^setuptools==(\d+)", lock, re.MULTILINE), (
        "builds without isolation, so with the lock's setuptools"
    )
    minor = re.search(r"^FROM python:3\.(\d+)-", RECIPE, re.MULTILINE)
    assert (
        f"Python 3.{minor[1]}" in lock
        and f'requires-python = ">=3.{minor[1]}"' in (ROOT / "pyproject.toml").read_text()
    )
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == COPIED


def test_the_wheel_carries_types_and_the_workflow(installed):
    held = installed / "guidelab/project/files"
    for name in (
        "Snakefile",
        "params.yaml",
        "workflow/rules/common.smk",
        "workflow/profiles/slurm/config.yaml",
    ):
        assert (held / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert {path.name for path in (held / "workflow/resources").iterdir()} == {
        path.name for path in (ROOT / "workflow/resources").iterdir()
    }
    assert (installed / "guidelab/py.typed").is_file()


@pytest.mark.slow
def test_the_examples_type_check():
    """As strictly as the package itself, which `make lint` has checked before: its cache is used, which keeps the page's path too."""
    page = ROOT / ".state/library_page.py"
    page.parent.mkdir(exist_ok=True)
    page.write_text(f"# mypy: allow-untyped-defs, allow-untyped-calls\n{CODE}\nguidelab.heun(1)\n")
    command = [sys.executable, "-m", "mypy", str(page), "src/guidelab/__init__.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert wrong and all(
        line.startswith(f"{page.relative_to(ROOT)}:{len(page.read_text().splitlines())}: ") for line in wrong
    ), done.stdout


@pytest.mark.parametrize("name", guidelab.__all__)
def test_every_public_name_is_in_an_example_and_documented(name):
    assert re.search(rf"\bguidelab\.{name}\b", CODE), f"docs/library.md uses no guidelab.{name}"
    assert getattr(guidelab, name).__doc__


def test_the_import_is_light_and_names_come_when_used():
    code = "import guidelab, sys; print('torch' in sys.modules); guidelab.edm_sigmas; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'smaple'"):
        guidelab.smaple  # noqa: B018
    assert set(guidelab.__all__) <= set(dir(guidelab))


@pytest.mark.parametrize(
    "options", [{}, {"S_churn": 20.0}, {"dtype": "float64"}], ids=["heun", "churn", "float64"]
)
def test_samples_are_those_of_the_workflow(files, tmp_path, options):
    from guidelab.study import drawing
    from guidelab.study.generate import Request, generate
    from guidelab.study.nets import read_net

    seeds = [0, 1, 2, 5]
    nets = drawing.Nets(read_net(files / "main.pkl"), read_net(files / "weak.pkl"))
    how = drawing.sampler_of("edm2", {"steps": 4, **options})
    generate(Request(nets, [2.0], seeds, tmp_path / "out", how, interval=(0.3, 20.0), sheet=False))
    main, weak = (guidelab.load_denoiser(files / name) for name in ("main.pkl", "weak.pkl"))
    terms = [guidelab.Interval(guidelab.Reference(weak, 2.0), 0.3, 20.0)]
    drawn = guidelab.sample(main, seeds, terms=terms, steps=4, batch=3, **options)
    for row, seed in enumerate(seeds):
        written = torch.from_numpy(np.asarray(Image.open(tmp_path / f"out/{seed:06d}.png")).copy())
        assert torch.equal(guidelab.to_uint8(drawn.x[row]), written.permute(2, 0, 1)), seed


def test_an_interval_inside_the_main_net_follows_the_step():
    """A guided denoiser as the main net is resolved once a step, like the same terms given separately."""
    flat = guidelab.denoiser(lambda x, sigma, cond: 0.1 * x, (2,))
    term = guidelab.Interval(guidelab.Reference(lambda x, sigma, cond: 0.3 * x, 3.0), 0.5, 5.0)
    inside = guidelab.denoiser(guidelab.Guided(flat, [term]), (2,))
    apart = guidelab.sample(flat, range(3), terms=[term], steps=5)
    assert torch.equal(guidelab.sample(inside, range(3), steps=5).x, apart.x)


def test_a_sampler_of_a_plugin_has_options_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/still.py").write_text(
        "from guidelab.sampling.continuous import Continuous\n"
        "class Still(Continuous):\n"
        "    def __init__(self, job, nets, at=0.0):\n"
        "        super().__init__(job, nets)\n"
        "        self.at = at\n"
        "    def solved(self, predict, x, cond, *, correct, callback):\n"
        "        return x * 0 + self.at\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GUIDELAB_PLUGINS_FOLDER", raising=False)
    net = guidelab.denoiser(lambda x, sigma, cond: x, (2,))
    assert guidelab.sample(net, range(3), sampler="plugins.still:Still", at=4.0, steps=2).x.eq(4).all()


@pytest.mark.parametrize("predicts", ["epsilon", "v"])
def test_networks_of_discrete_time_denoise(predicts):
    """Of normal data the best prediction is known: the denoised is x / (1 + sigma^2)."""
    schedule = guidelab.schedule_of("linear")

    def best(x_vp, steps, cond):  # E[noise | x_vp] = s x_vp; E[v | x_vp] = (alpha s - s alpha) x_vp = 0
        sigma = schedule.sigma_of(steps)[:, None, None, None]
        return sigma / (1 + sigma**2).sqrt() * x_vp if predicts == "epsilon" else torch.zeros_like(x_vp)

    net = guidelab.denoiser(best, (1, 2, 2), predicts=predicts, schedule=schedule.alphas_cumprod)
    x, sigma = torch.randn(5, 1, 2, 2, dtype=torch.float64), schedule.sigmas[[0, 10, 300, 700, 999]]
    torch.testing.assert_close(net(x, sigma), x / (1 + sigma[:, None, None, None] ** 2))


def test_a_model_of_diffusers_is_its_own_prediction(files):
    net, pipe = guidelab.from_diffusers(files / "pipeline"), pipeline("v_prediction")
    assert (net.shape, net.classes) == ((3, SIDE, SIDE), CLASSES)
    alpha = pipe.scheduler.alphas_cumprod[500]
    x_vp, cond = torch.randn(2, 3, SIDE, SIDE), torch.tensor([0, 3])
    with torch.no_grad():
        v = pipe.unet.eval()(x_vp, 500, class_labels=cond).sample
    sigma = ((1 - alpha) / alpha).sqrt().expand(2)
    expected = alpha.sqrt() * x_vp - (1 - alpha).sqrt() * v
    torch.testing.assert_close(net(x_vp / alpha.sqrt(), sigma, cond), expected, rtol=1e-4, atol=1e-4)


def test_a_guider_of_diffusers_subtracts_the_guide(files):
    main, guide = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    guider = guidelab.diffusers_guider(guide, 3.0)
    guider.set_state(0, 4, torch.tensor(0))
    x, ignored = torch.randn(5, 2), torch.zeros(5, 2)
    batches = guider.prepare_inputs({"x": (x, ignored)})
    for batch in batches:
        guider.prepare_models(main)
        batch.noise_pred = main(batch.x)
        guider.cleanup_models(main)
    torch.testing.assert_close(guider(batches).pred, guide(x) + 3 * (main(x) - guide(x)))
    assert main(x).equal(torch.nn.functional.linear(x, main.weight, main.bias))  # its own forward again
