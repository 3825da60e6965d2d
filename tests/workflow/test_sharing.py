"""Results through a remote: one experiment or all, to S3 and to a folder, with every kind of link; and tampered files.

The workflow and DVC are real, jobs take milliseconds, the S3 server is a real one in this process.
"""

import hashlib
import json
import subprocess
import sys

import pytest
from tree import EXPERIMENT, ROOT, Tree

from guidelab.plan.dvc import dvc_yaml, stage_names
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec
from guidelab.spec.reading import read_yaml

pytestmark = pytest.mark.slow
NOTHING = "Nothing to be done"
RESULTS = f"results/{EXPERIMENT}"
MODEL, ROWS = f"{RESULTS}/models/main.safetensors", f"{RESULTS}/measurements.csv"
SAMPLES = f"{RESULTS}/samples/autog/w2.00/seeds0-1.safetensors"
KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two experiments in one pipeline, one of them built whole, of the other its data; kept in DVC's cache."""
    tree = Tree.new(tmp_path_factory.mktemp("sharing") / "tree")
    tree.write_params(lambda params: params["experiments"].update(twin={"extends": EXPERIMENT}))
    params = tree.root / "params.yaml"
    tree.write_params(lambda written: written.update(default=[EXPERIMENT, "twin"]))
    text = dvc_yaml(Plan(load_spec(params)), read_yaml(params), [EXPERIMENT, "twin"])
    (tree.root / "dvc.yaml").write_text(text)
    stages = [s.manifest for s in Plan(load_spec(params)).stages(EXPERIMENT)]
    tree.snakemake(*stages, "results/twin/manifests/data.json")
    tree.run("dvc", "commit", "-q", "-f", *names(tree), "twin-data")
    tree.commit("results")
    return tree


def names(tree):
    """What DVC calls the stages of the experiment."""
    return stage_names(Plan(load_spec(tree.root / "params.yaml")), EXPERIMENT)


def remote(tree, url, *options):
    """Give a tree a remote of its own, in no tracked file."""
    tree.run("dvc", "remote", "add", "-q", "--local", "-f", "-d", "store", url)
    for option in options:
        tree.run("dvc", "remote", "modify", "-q", "--local", "store", *option)


def nothing_to_do(tree):
    """Neither tool runs a job, and no tracked file changes."""
    assert NOTHING in tree.planned(f"results/tables/{EXPERIMENT}.csv", f"{RESULTS}/manifests/paper.json")
    assert tree.jobs("dvc", "repro", "-q", *names(tree)) == set()
    assert tree.run("git", "status", "--short") == ""


@pytest.fixture(scope="module")
def s3():
    """The address of a server that speaks S3, with a bucket."""
    boto3 = pytest.importorskip("boto3", reason="dvc-s3 is not installed")
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    credentials = {
        "aws_access_key_id": "nobody",
        "aws_secret_access_key": "nothing",
        "region_name": "us-east-1",
    }
    client = boto3.client("s3", endpoint_url=address, **credentials)
    client.create_bucket(Bucket="results")
    yield address, client
    running.stop()


def test_one_experiment_goes_through_s3_and_nothing_is_computed(built, s3, tmp_path):
    address, client = s3
    endpoint = ("endpointurl", address)
    built.environment |= KEYS
    remote(built, "s3://results/guidelab", endpoint)
    built.run("dvc", "push", "-q", *names(built))
    objects = client.list_objects_v2(Bucket="results", MaxKeys=1000)["Contents"]
    kept = {path.name: path for path in (built.root / ".dvc/cache/files/md5").rglob("*") if path.is_file()}
    sent = {"".join(thing["Key"].split("/")[-2:])[2:] for thing in objects}
    assert sent <= set(kept) and len(sent) < len(kept), "the other experiment's data stays at home"
    clone = built.clone(tmp_path / "clone")
    clone.environment |= KEYS
    remote(clone, "s3://results/guidelab", endpoint)
    clone.run("dvc", "pull", "-q", *names(clone))
    assert not (clone.root / "results/twin/data").exists()
    nothing_to_do(clone)


@pytest.fixture(scope="module")
def folder(built, tmp_path_factory):
    """A directory remote that holds everything."""
    store = tmp_path_factory.mktemp("store")
    remote(built, str(store))
    built.run("dvc", "push", "-q", *names(built))
    return store


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_links_into_the_cache_do_as_well_and_are_never_written_through(built, folder, link, tmp_path):
    clone = built.clone(tmp_path / "clone")
    clone.run("dvc", "config", "--local", "cache.type", link)
    remote(clone, str(folder))
    clone.run("dvc", "pull", "-q", *names(clone))
    path = clone.root / SAMPLES
    assert path.is_symlink() if link == "symlink" else path.stat().st_nlink > 1
    nothing_to_do(clone)
    clone.set("variants.autog.weights", [2.5, 3.0])
    clone.set("sampler.steps", 9)
    ran = clone.snakemake(f"{RESULTS}/manifests/sample.json")
    assert any(line.startswith("sample ") for line in ran)
    for kept in (clone.root / ".dvc/cache/files/md5").rglob("*"):
        if kept.is_file() and not kept.name.endswith(".dir"):
            assert hashlib.md5(kept.read_bytes()).hexdigest() == kept.parent.name + kept.name, kept


def test_the_next_command_names_every_changed_file(built, folder, tmp_path):
    """One byte of a net, of samples, of a result in git: Snakemake before it plans, DVC's status, the trail."""
    clone = built.clone(tmp_path / "clone")
    remote(clone, str(folder))
    clone.run("dvc", "pull", "-q", *names(clone))
    for path in (MODEL, SAMPLES, ROWS):
        flip(clone.root / path)
    planned = clone.planned(f"results/tables/{EXPERIMENT}.csv")
    status = json.loads(clone.run("dvc", "status", "--json"))
    for path, stage, out in (
        (MODEL, "train", f"{RESULTS}/models"), (SAMPLES, "sample", f"{RESULTS}/samples"), (ROWS, "measure", ROWS),
    ):  # fmt: skip
        assert f"WARNING {path}" in planned
        assert {out: "modified"} in [part.get("changed outs") for part in status[f"{EXPERIMENT}-{stage}"]], (
            status
        )
        traced = subprocess.run(
            [sys.executable, "-m", "guidelab.cli.app", "trace", path],
            cwd=clone.root, env=clone.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert traced.returncode == 1 and f"PROBLEM {path}: CHANGED" in traced.stdout, traced.stdout
    assert ROWS in clone.run("git", "status", "--short")


def test_a_changed_store_is_detected_after_the_pull(built, folder, tmp_path):
    model = hashlib.md5((built.root / MODEL).read_bytes()).hexdigest()
    thing = folder / "files/md5" / model[:2] / model[2:]
    good = thing.read_bytes()
    thing.chmod(0o644)
    flip(thing)
    clone = built.clone(tmp_path / "clone")
    remote(clone, str(folder))
    try:
        clone.run("dvc", "pull", "-q", f"{EXPERIMENT}-train")
        assert f"WARNING {MODEL}" in clone.planned(f"results/tables/{EXPERIMENT}.csv")
    finally:
        thing.write_bytes(good)


def flip(path):
    """Change one byte, and not the size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_documentation_names_what_is_tested_here():
    text = (ROOT / "docs/sharing.md").read_text()
    for command in (
        "dvc push $(guidelab stages toy2d)",
        "dvc pull $(guidelab stages toy2d)",
        "endpointurl",
        "ssh://",
        "guidelab trace",
        "guidelab crate",
    ):
        assert command in text, command
