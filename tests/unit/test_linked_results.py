"""Results on a scratch disk, behind a link: trails, crates and records work, and no advice would destroy the link."""

import subprocess

import pytest
from trail_cases import MODEL, ROWS, TABLE, build

from guidelab.errors import UserError
from guidelab.lineage.crate.contents import files_of, printed, refuse_changed
from guidelab.lineage.trail.book import Book, walk
from guidelab.lineage.trail.text import as_text
from guidelab.lineage.trail.trace import changed, trace
from guidelab.plan.stage import Stage
from guidelab.provenance import records
from guidelab.provenance.places import back, folder_link

ROW = "variant=cfg,w=2.00,metric=frechet"
LINKS = ["results", "results/e", "results/e/models", "results/tables", "results/e/provenance", "chain"]


@pytest.fixture(params=LINKS)
def made(request, tmp_path):
    """A finished experiment of which a folder lies on another disk."""
    trail = build(tmp_path / "project")
    path = "results" if request.param == "chain" else request.param
    scratch = tmp_path / "scratch" / path
    scratch.parent.mkdir(parents=True)
    (trail.root / path).rename(scratch)
    if request.param == "chain":
        (tmp_path / "hop").symlink_to(scratch)
        (trail.root / path).symlink_to("../hop")
    else:
        (trail.root / path).symlink_to(scratch)
    trail.link = trail.root / path
    return trail


def test_a_trail_is_followed_through_the_link(made):
    found = trace(TABLE, [ROW], None, root=made.root)
    assert found["problems"] == [] and not changed(found)
    assert {state["word"] for state in found["files"].values()} == {"intact"}


def test_a_crate_holds_what_lies_behind_the_link(made):
    made.write("Snakefile", "")
    book = Book(made.root)
    steps = walk(book, printed(book, TABLE))
    wanted = files_of(book, TABLE, steps, made.root)
    refuse_changed(book, TABLE, wanted, steps, made.root)
    assert TABLE in wanted and ROWS in wanted


@pytest.mark.parametrize("path", [TABLE, ROWS, MODEL])
@pytest.mark.parametrize("what", ["changed", "absent"])
def test_no_advice_would_destroy_the_link(made, path, what):
    behind = folder_link(made.root, path) is not None
    if what == "absent":
        (made.root / path).unlink()
    else:
        with (made.root / path).open("a") as file:
            file.write("\n")
    try:
        found = trace(TABLE if path == MODEL else path, [], None, root=made.root)
        said = as_text(found) + "".join(str(state["back"]) for state in found["files"].values())
    except UserError as error:
        said = str(error)
    assert made.link.is_symlink()
    for command in (f"git checkout -- {path}", f"dvc pull --force {path}"):
        assert not behind or command not in said


def test_a_damaged_record_behind_the_link_is_named_with_harmless_advice(made):
    path = "results/e/provenance/train.json"
    (made.root / path).write_text("{")
    with pytest.raises(UserError) as refused:
        trace(TABLE, [ROW], None, root=made.root)
    stage = Stage("train", "e", ("results/e/models",), (), "results/e/manifests/train.json", path, ())
    _, complaint = records.read(made.root, stage)
    harmful = f"git checkout -- {path}"
    behind = folder_link(made.root, path) is not None
    assert path in str(refused.value) and path in str(complaint)
    assert (harmful in str(refused.value), harmful in str(complaint)) == (not behind, not behind)


def test_the_advice_for_small_results_takes_them_back_and_keeps_the_link(tmp_path):
    root, path = tmp_path / "project", "results/tables/e.csv"
    (root / "results/tables").mkdir(parents=True)
    (root / path).write_text("right\n")

    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "results")
    (root / "results").rename(tmp_path / "scratch")
    (root / "results").symlink_to(tmp_path / "scratch")
    (root / path).write_text("wrong\n")
    subprocess.run(["sh", "-c", back(root, path)], cwd=root, check=True)
    assert (root / path).read_text() == "right\n" and (root / "results").is_symlink()


def test_a_link_to_a_file_outside_is_not_read_and_may_stay(tmp_path):
    trail = build(tmp_path / "project")
    (tmp_path / "outside").write_bytes((trail.root / MODEL).read_bytes())
    (trail.root / MODEL).unlink()
    (trail.root / MODEL).symlink_to(tmp_path / "outside")
    (problem,) = trace(MODEL, [], None, root=trail.root)["problems"]
    assert "NOT READ" in problem and "If the link is yours, link its folder instead" in problem


def test_a_link_in_a_linked_folder_leads_no_further(tmp_path):
    """A link to a folder is the user's layout; a file in it that leads elsewhere is not."""
    trail = build(tmp_path / "project")
    scratch = tmp_path / "scratch"
    (trail.root / "results/e/models").rename(scratch)
    (trail.root / "results/e/models").symlink_to(scratch)
    (tmp_path / "secret").write_text("secret")
    (scratch / "main.safetensors").unlink()
    (scratch / "main.safetensors").symlink_to(tmp_path / "secret")
    (problem,) = trace(MODEL, [], None, root=trail.root)["problems"]
    assert "NOT READ" in problem
