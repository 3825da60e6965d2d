"""A job never runs code whose digest it was not given, and Snakemake never records what did not run."""

import json
from pathlib import Path

import pytest

from guidelab.digest import code_digest, covered
from guidelab.errors import UserError
from guidelab.plan.targets import params_path
from guidelab.provenance import code
from guidelab.runtime.preflight import Invocation, invocation_of
from guidelab.runtime.restart import restart

ROOT = Path(__file__).parents[2]
HERE = str(ROOT / "src/guidelab")
REACH = ("prepare", "guidelab.data.toy2d")
DIGEST = code_digest(REACH[0], REACH[1:])


def never():
    raise AssertionError("the plan is read for jobs started by hand alone")


def planned(folder=HERE, digests=None):
    return {
        code.PLANNED: json.dumps(
            {"folder": folder, "digests": {DIGEST: REACH} if digests is None else digests}
        )
    }


def test_a_job_whose_digest_is_that_of_its_code_runs():
    code.refuse_other_code("prepare", {"code": DIGEST}, never, planned())
    code.refuse_other_code(
        "prepare", {"code": DIGEST}, never, planned("/elsewhere/src/guidelab")
    )  # the same code


def test_a_job_never_runs_with_the_code_of_another_folder():
    digests = {"0123456789abcdef": REACH}
    with pytest.raises(UserError) as refused:
        code.refuse_other_code(
            "prepare", {"code": "0123456789abcdef"}, never, planned("/elsewhere/src/guidelab", digests)
        )
    said = str(refused.value)
    for part in (
        "0123456789abcdef of /elsewhere/src/guidelab",
        HERE,
        DIGEST,
        "activate the environment of /elsewhere",
    ):
        assert part in said


@pytest.mark.parametrize("digests", [{"0123456789abcdef": REACH}, {}, {DIGEST: REACH}])
def test_a_job_never_runs_with_code_that_was_edited_after_it_was_planned(digests):
    """The job's digest is another one than the code's, or one that Snakemake's main process never planned."""
    with pytest.raises(
        UserError,
        match=r"changed since Snakemake planned this job: start Snakemake again.*Nothing was computed",
    ):
        code.refuse_other_code("prepare", {"code": "0123456789abcdef"}, never, planned(digests=digests))


@pytest.mark.parametrize("reach", [REACH, ("prepare", "plugins.mine"), ("prepare", "numpy")])
def test_only_a_job_of_unchanged_files_of_the_package_is_spared_the_digest(monkeypatch, reach):
    """Files of plugins and of other packages are in no hash of the package, so their digests are computed."""

    def runs(content):
        computed = []
        monkeypatch.setattr(code, "code_digest", lambda *of: computed.append(of) or DIGEST)
        listed = {"folder": HERE, "content": content, "digests": {DIGEST: reach}}
        code.refuse_other_code("prepare", {"code": DIGEST}, never, {code.PLANNED: json.dumps(listed)})
        return bool(computed)

    assert runs(code.content()) is (reach != REACH)
    assert runs("0" * 64), "other files"


def test_a_job_by_hand_without_a_digest_runs():
    code.refuse_other_code("prepare", {}, never, {})
    code.refuse_other_code("prepare", {}, never, planned())


def test_a_job_by_hand_never_runs_with_another_digest_than_its_code_has(capsys):
    code.refuse_other_code("prepare", {"code": DIGEST}, lambda: DIGEST, {})
    with pytest.raises(
        UserError, match=f"--job has code 0123456789abcdef; wanted {DIGEST}, the code of {HERE}"
    ):
        code.refuse_other_code("prepare", {"code": "0123456789abcdef"}, lambda: DIGEST, {})
    assert capsys.readouterr().err == ""
    code.refuse_other_code("prepare", {"code": "0123456789abcdef"}, lambda: None, {})
    assert "was not compared: params.yaml plans no such output" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"folder": 1, "digests": {}}', '{"folder": "x", "digests": 2}']
)
def test_a_list_that_makes_no_sense_is_none(text):
    code.refuse_other_code("prepare", {"code": DIGEST}, lambda: DIGEST, {code.PLANNED: text})


def test_the_list_holds_what_was_planned_and_is_enough_to_compute_it_again():
    environ = {}
    code.announce(environ)
    if not environ:  # announced before, in this process
        code._announced.clear()
        code.announce(environ)
    content = json.loads(environ[code.PLANNED])
    assert content["folder"] == HERE and content["digests"][DIGEST] == list(REACH) == list(covered()[DIGEST])
    assert len(environ[code.PLANNED]) < 100_000, "one variable holds at most 128 KiB"


@pytest.mark.parametrize(
    "before", ["", "/a/src", "/a/src:/b", f"/a/src:{ROOT / 'src'}", f"{ROOT / 'src'}:/a/src"]
)
def test_jobs_import_the_code_that_planned_them_first(before):
    environ = {"PYTHONPATH": before}
    code.own_code_first(environ)
    code.own_code_first(environ)
    first, *others = environ["PYTHONPATH"].split(":")
    assert first == str(ROOT / "src") and first not in others
    assert others == [path for path in before.split(":") if path not in ("", first)]


# ---- what Snakemake's command line may not do --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--touch", "-c1"], ["-t", "-c1"], ["--tou", "-c1"], ["-c1", "-n", "--touch"], ["-c1", "-tF"], ["--executor", "touch"],
        ["-e", "touch"], ["-etouch"], ["--executor=touch"],
    ],
)  # fmt: skip
def test_results_are_never_recorded_without_their_jobs(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="--touch: would record results as made with the parameters and the code of now"
    ):
        restart([*arguments, "results/tables/toy2d.csv"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("content", ["touch: true\n", "executor: touch\n"])
def test_a_profile_never_records_results_without_their_jobs(how, content, tmp_path, monkeypatch):
    (tmp_path / "p").mkdir()
    (tmp_path / "p/config.yaml").write_text(content)
    arguments = ["--profile", str(tmp_path / "p")] if how == "argument" else []
    if how == "environment":
        monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path / "p"))
    assert invocation_of([*arguments, "-c1"]).touches


def test_a_run_touches_nothing():
    assert not invocation_of(["-c1", "results/tables/toy2d.csv"]).touches and not Invocation(()).touches


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"parms": "mine.yaml"}, "--config parms: unknown key; wanted params; did you mean 'params'"),
        ({"params": "mine.yaml", "steps": 9}, "--config steps: unknown key; wanted params. Constants of science are in params.yaml"),
        ({"PARAMS": "mine.yaml"}, "--config PARAMS: unknown key"),
        ({"experiments": {"toy2d": {}}}, "--config experiments: unknown key"),
        ({1: 2}, "--config 1: unknown key"),
        ({"params": 5}, "--config params: given 5, wanted the path"),
        ({"params": None}, "given None, wanted the path"),
        ({"params": ""}, "given '', wanted the path"),
        ({"params": ["a.yaml"]}, "wanted the path"),
    ],
)  # fmt: skip
def test_a_configuration_key_is_never_ignored(config, message):
    with pytest.raises(UserError) as refused:
        params_path(config)
    assert message in str(refused.value)


def test_the_parameters_file_is_that_of_the_configuration():
    assert params_path({}) == "params.yaml" and params_path({"params": "mine.yaml"}) == "mine.yaml"
