"""The parts of `guidelab accept`: which jobs are of one kind, how much is replayed, what counts as the same, who wrote the ledger."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from guidelab.accept.changes import Change
from guidelab.accept.choice import Group, chosen_names, groups, options, tried_whole
from guidelab.accept.compare import begins, close, same
from guidelab.accept.estimate import Candidate, seconds_of
from guidelab.accept.judgement import ALIKE, SAME, judge
from guidelab.accept.parts import (
    FEW_REPEATS,
    FIRST_BLOCK,
    FIRST_EVALUATION,
    FIRST_ROWS,
    FIRST_SNAPSHOT,
    cost,
    part,
    whole,
)
from guidelab.accept.replay import Replayed
from guidelab.accept.selection import chosen, pairs_left_out
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.plan.plan import Plan
from guidelab.plan.stage import Stage
from guidelab.provenance import accepted, records
from guidelab.provenance.disk import sha256
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def finished(plan, experiment, rule, *names):
    """A job as if older code had run it."""
    job, now = plan.job(rule, experiment, *names), json.loads(plan.payload(rule, experiment, *names))
    return Change(
        "s", rule, rule, dict.fromkeys(job.outputs, "0"), {}, {**now, "code": f"old-{now['code']}"}, now, True
    )


def sampled(plan, experiment):
    runs = plan.experiment(experiment).runs
    return [finished(plan, experiment, "sample", *run.point.split("/"), run.part) for run in runs]


# ---- kinds of jobs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "experiment, alone",
    [
        ("toy2d", ["dg_first", "cfg_interval", "truncation", "dropout", "input_noise", "mismatched"]),
        ("fashion_ablations", ["dg_boost", "dg_first", "input_noise"]),
    ],
)
def test_every_branch_in_use_has_separate_jobs(plan, experiment, alone):
    """Stages, boosting, intervals, dropout, noisy inputs: no job without them speaks for those with them."""
    made = groups(sampled(plan, experiment), plan.spec.experiments[experiment], {})
    for name in alone:
        mine = [group for group in made if any(f"/{name}/" in job.name for job in group.jobs)]
        others = {job.name.split("/")[3] for group in mine for job in group.jobs} - {name}
        assert mine and not others, (name, others)


def test_names_and_numbers_make_no_separate_kind(plan):
    made = groups(sampled(plan, "toy2d"), plan.spec.experiments["toy2d"], {})
    together = next(group for group in made if any("/autog_ema/" in job.name for job in group.jobs))
    assert {"autog", "autog_xs", "autog_t16", "autog_ema"} <= {
        job.name.split("/")[3] for job in together.jobs
    }


@pytest.mark.parametrize(
    "change",
    [{"weight": 0.0}, {"stages": "first"}, {"sigma_hi": 1.0}, {"boost": True}, {"method": "projected"}],
)
def test_an_option_a_number_that_turns_parts_off_and_a_given_bound_count(plan, change):
    names = chosen_names(plan.spec.experiments["toy2d"])
    term = {"method": "reference", "ref": "weak", "weight": 2.0, "sigma_hi": None, "stages": "both"}
    before = options({"terms": [term], "inputs": {}}, names)
    assert options({"terms": [{**term, **change}], "inputs": {}}, names) != before
    assert options({"terms": [{**term, "weight": 3.0, "ref": "small"}], "inputs": {}}, names) == before


def test_a_sampler_that_is_a_chain_is_of_another_kind(plan):
    names = chosen_names(plan.spec.experiments["imagenet256"])
    run = plan.experiment("imagenet256").runs[0]
    payload = finished(plan, "imagenet256", "sample", *run.point.split("/"), run.part).now
    kinds = {json.dumps(options({**payload, "sampler": {**payload["sampler"], "name": n}}, names)) for n in ("ddpm", "ddim", "heun")}  # fmt: skip
    assert len(kinds) == 3


# ---- how much ----------------------------------------------------------------------------------------------------


def test_the_cheapest_training_of_each_trainer_runs_whole_and_others_to_their_first_snapshot(plan):
    trained = [finished(plan, "fashion", "train", name, "seed0") for name in ("s", "xs", "xs_uncond")]
    assert tried_whole(trained, {}) == {"results/fashion/checkpoints/xs/seed0.csv"}
    known = dict(zip((job.name for job in trained), (9.0, 30.0, 20.0), strict=True))
    assert tried_whole(trained, known) == {trained[0].name}
    short = part(trained[0])
    assert short.kind == FIRST_SNAPSHOT and short.now["train"]["nimg"] == short.now["train"]["snapshot_nimg"]
    discs = [finished(plan, "fashion", "discriminate", name) for name in ("guide", "clean")]
    assert tried_whole(discs, {}) == {job.name for job in discs}, "a classifier has a trainer of its own"


def test_a_training_that_stops_early_is_replayed_to_its_first_evaluation(plan):
    """The step size may follow from the number of iterations, so that stays."""
    job = finished(plan, "fashion", "discriminate", "clean")
    short = part(job)
    assert short.kind == FIRST_EVALUATION and short.ran["train"] == {**job.ran["train"], "patience": 0}
    assert cost(short.now) < cost(job.now)


def test_of_measurements_the_first_block_and_of_divergences_few_repeats_are_replayed(plan):
    point = ("none", "w1.00", "seeds0-4")
    measured = part(finished(plan, "toy2d", "measure", *point))
    assert measured.kind == FIRST_BLOCK and list(measured.now["blocks"]) == ["report1"]
    diverged = part(finished(plan, "toy2d", "diverge", *point))
    coverage = diverged.now["estimate"]["coverage"]
    first, last = coverage["seeds"]
    assert diverged.kind == FEW_REPEATS and last - first + 1 == coverage["draws"] * coverage["n_samples"]


def test_of_samples_the_first_rows_of_a_block_are_drawn(plan):
    change = finished(plan, "fashion", "sample", "cfg", "w2.00", "seed0")
    short = part(change)
    assert short.kind == FIRST_ROWS and short.now["blocks"] == {"report1": [100000, 100249]}
    points = part(finished(plan, "toy2d", "sample", "cfg", "w2.00", "seeds0-4"))
    assert points.now["train_seeds"] == [0] and set(points.now["blocks"]) == {"select", "report1", "report2"}
    assert points.now["grader_blocks"]["grade"]["seeds"] == [2000000, 2002047]


def candidate(option, seconds, required=False, experiment="e"):
    return Candidate(experiment, Group(("a", "b"), json.dumps(option)), [], seconds, required)


def test_all_kinds_are_replayed_within_the_limit_else_every_option_in_use_then_pairs_cheapest_first():
    plain, both = candidate({"method": "a"}, 30), candidate({"method": "a", "stages": "first"}, 40)
    boosted, other = candidate({"method": "a", "boost": True}, 5), candidate({"method": "b"}, 100)
    kinds = [plain, both, boosted, other]
    assert chosen(kinds, 200) == kinds
    assert chosen(kinds, 160) == [both, boosted, other], "the options of `plain` occur in the others"
    assert chosen(kinds, 1) == [both, boosted, other], "no option in use is left out, however long it takes"
    assert chosen([candidate({"method": "a"}, 30, required=True), *kinds], 1)[0].required
    elsewhere = candidate({"method": "a"}, 30, experiment="f")
    assert chosen([*kinds, elsewhere], 1) == [both, boosted, other, elsewhere], "of each experiment"


def test_a_cheap_kind_is_dropped_again_when_dearer_ones_have_all_its_options():
    cheap, first, second = candidate({"a": 2}, 5), candidate({"a": 2, "b": 2}, 20), candidate({"b": 3}, 10)
    assert chosen([cheap, first, second], 1) == [first, second]


def test_the_cheapest_job_of_a_kind_is_that_of_the_least_recorded_seconds(plan):
    jobs = sampled(plan, "toy2d")
    plain = next(g for g in groups(jobs, plan.spec.experiments["toy2d"], {}) if len(g.jobs) > 2)
    known = {job.name: 9.0 - place for place, job in enumerate(plain.jobs)}
    (again,) = groups(plain.jobs, plan.spec.experiments["toy2d"], known)
    assert again.jobs == plain.jobs[::-1]


def test_options_inside_a_list_count_without_their_place_and_in_pairs():
    first, second = (
        candidate({"terms": [{"stages": "first"}]}, 1),
        candidate({"terms": [{"a": 2}, {"stages": "first"}]}, 1),
    )
    assert first.sets(1) < second.sets(1) and len(second.sets(2)) == 1


def test_pairs_of_options_come_before_further_kinds_and_those_left_out_are_counted():
    alone = [candidate({"a": value, "b": value}, 10) for value in (2, 3)]
    mixed, again = candidate({"a": 2, "b": 3}, 20), candidate({"a": 2, "b": 2}, 15)
    kinds = [*alone, mixed, again]
    assert chosen(kinds, 36) == [*alone, again], "no time for the third pair"
    assert pairs_left_out([*alone, again], kinds) == (1, 3)
    assert chosen(kinds, 40) == [*alone, mixed], "the pair first"
    assert pairs_left_out([*alone, mixed], kinds) == (0, 3)


def test_the_estimate_is_the_recorded_time_times_the_share_that_is_replayed(plan):
    change = finished(plan, "fashion", "sample", "cfg", "w2.00", "seed0")
    first = part(change)
    assert seconds_of(first, {change.name: 120.0}, []) == pytest.approx(120 * 250 / 3000)
    assert seconds_of(whole(change), {}, [10.0, 30.0, 20.0]) == 20.0


def test_a_density_is_replayed_for_one_training_and_one_block(plan):
    short = part(finished(plan, "toy2d", "density", "autog", "w3.00", "seeds0-4"))
    assert (
        short.kind == FIRST_ROWS
        and short.now["train_seeds"] == [0]
        and list(short.now["blocks"]) == ["report1"]
    )


# ---- the same ----------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays(tmp_path):
    def save(name, x, **meta):
        path = tmp_path / name
        save_arrays(path, {"x": x}, meta)
        return path

    return save


def test_bytes_are_the_same_or_the_place_is_named(arrays, tmp_path):
    x = torch.arange(8.0).reshape(4, 2)
    a, b, c = arrays("a.safetensors", x), arrays("b.safetensors", x), arrays("c.safetensors", x + 1e-6)
    assert same(a, b) == "" and same(a, c) == "tensor x"
    described = arrays("d.safetensors", x, terms=1)
    assert same(a, described) == "its description" and same(a, described, renamed=True) == ""
    assert same(a, tmp_path / "none.safetensors") == "not written"


def test_first_rows_are_those_of_the_recorded_file(arrays):
    x = torch.arange(8.0).reshape(4, 2)
    whole = arrays("whole.safetensors", x)
    assert begins(arrays("part.safetensors", x[:2]), whole, FIRST_ROWS) == ""
    assert begins(arrays("later.safetensors", x[1:3]), whole, FIRST_ROWS) == "tensor x"
    assert begins(arrays("wide.safetensors", x[:2, :1]), whole, FIRST_ROWS) == "tensor x"


@pytest.mark.parametrize(
    "kind, name, text, where",
    [
        (
            FIRST_SNAPSHOT,
            "loss.csv",
            "0,8,8,0.5\n0,16,16,0.3\n0,20,20,0.9\n",
            "",
        ),  # the last line is of fewer steps
        (FIRST_SNAPSHOT, "loss.csv", "0,8,8,0.5\n0,16,16,0.4\n0,20,20,0.9\n", "row ['0', '16', '16']"),
        (FIRST_BLOCK, "a.csv", "0,8,8,0.5\n", ""),
        (FIRST_BLOCK, "a.csv", "0,8,8,0.6\n", "row ['0', '8', '8', '0.6']"),
        (FEW_REPEATS, "d.csv", "kind,value\ntruth,1\ncoverage,0.75\n", ""),
        (FEW_REPEATS, "d.csv", "kind,value\ntruth,2\ncoverage,0.75\n", "row ['truth', '2']"),
    ],
)
def test_lines_of_a_shortened_replay_are_recorded_ones_but_for_what_only_the_whole_job_gives(
    tmp_path, kind, name, text, where
):
    whole = tmp_path / "whole.csv"
    whole.write_text(
        "kind,value\ntruth,1\ncoverage,0.95\n"
        if kind == FEW_REPEATS
        else "0,8,8,0.5\n0,16,16,0.3\n0,24,24,0.2\n"
    )
    (tmp_path / name).write_text(text)
    assert begins(tmp_path / name, whole, kind) == where


def test_the_first_evaluation_of_a_training_is_the_recorded_one_and_its_choice_is_not_compared(tmp_path):
    def disc(name, first, chosen, loss):
        course = {"0": [[10, 0.7, loss], [20, 0.6, 0.4]][: 1 if name == "part" else 2]}
        save_arrays(
            tmp_path / name,
            {"it10/seed0/w": torch.tensor(first), "seed0/w": torch.tensor(chosen)},
            {"history": course},
        )
        return tmp_path / name

    whole = disc("whole", 1.0, 5.0, 0.5)
    assert begins(disc("part", 1.0, 1.0, 0.5), whole, FIRST_EVALUATION) == ""
    assert begins(disc("part", 2.0, 1.0, 0.5), whole, FIRST_EVALUATION) == "tensor it10/seed0/w"
    assert begins(disc("part", 1.0, 1.0, 0.6), whole, FIRST_EVALUATION) == "the course of the training"


def test_a_tolerance_is_relative_to_the_largest_value(arrays, tmp_path):
    x = torch.tensor([1e-9, 1000.0])
    a, b = arrays("a.safetensors", x), arrays("b.safetensors", x + torch.tensor([0.5, 0.0]))
    assert close(b, a, 1e-3) == "" and close(b, a, 1e-4).startswith("tensor x")
    nan = arrays("n.safetensors", torch.tensor([float("nan"), 1.0]))
    assert close(nan, a, 0.1).startswith("tensor x")
    rows, others, words = tmp_path / "r.csv", tmp_path / "o.csv", tmp_path / "w.csv"
    rows.write_text("name,value\na,1\nb,2\n")
    others.write_text("name,value\na,1.001\nb,2\n")
    words.write_text("name,value\na,1\nc,2\n")
    assert close(others, rows, 1e-3) == "" and close(others, rows, 1e-4) == "column value"
    assert close(words, rows, 1.0) == "column name"


def replayed(tmp_path, name, x, path):
    save_arrays(tmp_path / name / path, {"x": x}, {})
    return Replayed(tmp_path / name)


@pytest.mark.parametrize(
    "old, new, rtol, why, differs",
    [
        (0.0, 0.0, None, "", False),
        (0.0, 1e-6, None, "another result", True),
        (0.0, 1e-6, 1e-3, "another result", True),  # this machine gives the recorded bytes: no tolerance
        (1e-6, 1e-6, None, "another device", False),
        (1e-6, 2e-6, 1e-3, "", False),
        (1e-6, 0.5, 1e-3, "the new code differs", True),
        (0.5, 1e-6, 1e-3, "the old code differs", False),
    ],
)
def test_what_a_replay_shows(tmp_path, old, new, rtol, why, differs):
    path, x = "results/e/models/a.safetensors", torch.ones(3)
    save_arrays(tmp_path / path, {"x": x}, {})
    change = Change(
        "s",
        "reconstruct",
        "reconstruct",
        {path: sha256(tmp_path / path)},
        {},
        {"code": "o"},
        {"code": "n"},
        True,
    )
    results = [replayed(tmp_path, name, x + by, path) for name, by in (("old", old), ("new", new))]
    shown = judge(part(change), "commit", *results, tmp_path, rtol, renamed=False)
    assert (why in shown.why if why else not shown.why) and shown.differs is differs, shown
    failed = judge(
        part(change), "commit", results[0], Replayed(tmp_path, "KeyError: 'a'"), tmp_path, rtol, False
    )
    assert failed.differs and "KeyError: 'a'" in failed.why


@pytest.mark.parametrize("course, result", [({"0": [[10, 0.7, 0.5]]}, SAME), ({}, ALIKE)])
def test_a_shortened_training_reports_whether_the_record_could_be_compared(tmp_path, plan, course, result):
    change = finished(plan, "fashion", "discriminate", "guide")
    (path,) = change.outputs
    for place in ("", "old", "new"):
        save_arrays(tmp_path / place / path, {"seed0/w": torch.ones(3)}, {"history": course})
    change = replace(change, outputs={path: sha256(tmp_path / path)})
    replays = [Replayed(tmp_path / name) for name in ("old", "new")]
    assert judge(part(change), "commit", *replays, tmp_path, None, renamed=False).result == result


# ---- the ledger --------------------------------------------------------------------------------------------------

RAN = {"code": "aaaa", "inputs": {}, "sampler": {"low": 1}, "terms": [{"w": 1}, {"w": 2}]}
STAGE = Stage("s", "e", ("results/e/x",), (), "results/e/manifests/s.json", "results/e/provenance/s.json", ())
OUT = "results/e/x/a.csv"


def write_record(root, ledger, code="bbbb", ran=RAN):
    record = {"rule": "r", "params": [repr(accepted.canonical(ran))], "code": "guidelab r"}
    ran_as = {key: record[key] for key in ("params", "code")}
    entry = records.Entry("00", record, None, ran_as, {"code": code, "ledger": ledger})
    records.write(root, STAGE, {OUT: entry})


def write_ledger(
    root, ran=RAN, code="bbbb", table=accepted.NO_TABLE, outputs=None, experiment="e", shell=None
):
    now = accepted.translated(ran, table, code)
    jobs = {OUT: accepted.line(ran, now, outputs or {OUT: "00"})}
    return accepted.write(
        root, experiment, {"jobs": jobs, "table": table, "previous": [], "shell": shell or {}}
    )


def code_of(root):
    entries, complaint = records.read(root, STAGE)
    return accepted.payload_of(entries[OUT].record["params"])["code"], complaint


def test_a_record_with_its_ledger_shows_the_accepted_digest_and_keeps_the_one_that_ran(tmp_path):
    write_record(tmp_path, write_ledger(tmp_path))
    assert code_of(tmp_path) == ("bbbb", None)
    entries, _ = records.read(tmp_path, STAGE)
    assert accepted.payload_of(entries[OUT].as_ran["params"])["code"] == "aaaa"
    before = (tmp_path / STAGE.provenance).read_bytes()
    records.write(tmp_path, STAGE, entries)
    assert (tmp_path / STAGE.provenance).read_bytes() == before
    again = records.Entry.from_snakemake("00", json.loads(json.dumps(entries[OUT].for_snakemake)), None)
    assert again.fingerprint == entries[OUT].fingerprint


@pytest.mark.parametrize(
    "how, says",
    [
        ({"ran": {**RAN, "seed": 1}}, "other parameters that ran"),
        ({"outputs": {OUT: "11"}}, "other files"),
        ({"code": "cccc"}, "other digests"),  # of another branch: it says nothing of merged code
    ],
)
def test_a_ledger_written_for_another_job_is_refused_with_the_reason(tmp_path, how, says):
    write_record(tmp_path, write_ledger(tmp_path, **how))
    code, complaint = code_of(tmp_path)
    assert code == "aaaa" and says in complaint, complaint


def test_a_ledger_from_elsewhere_or_edited_is_refused_with_the_reason(tmp_path):
    name = write_ledger(tmp_path)
    write_record(tmp_path, name)
    path = tmp_path / f"results/e/accepted/{name}.json"
    text = path.read_text()
    path.write_text(text.replace('"previous": []', '"previous": ["x"]'))
    assert "was edited" in code_of(tmp_path)[1]
    path.write_text("{")
    assert "is no ledger file" in code_of(tmp_path)[1]
    other = write_ledger(tmp_path, experiment="other")
    (tmp_path / f"results/other/accepted/{other}.json").rename(tmp_path / f"results/e/accepted/{other}.json")
    write_record(tmp_path, other)
    code, complaint = code_of(tmp_path)
    assert code == "aaaa" and "of format and experiment (1, 'other')" in complaint


def test_a_changed_shell_line_of_a_rule_is_accepted_where_the_ledger_has_both(tmp_path):
    write_record(
        tmp_path, write_ledger(tmp_path, shell={"r": {"ran": "guidelab r", "now": "guidelab r --new"}})
    )
    entry = records.read(tmp_path, STAGE)[0][OUT]
    assert entry.record["code"] == "guidelab r --new" and entry.as_ran["code"] == "guidelab r"
    write_record(tmp_path, write_ledger(tmp_path, shell={"r": {"ran": "another", "now": "guidelab r --new"}}))
    assert records.read(tmp_path, STAGE)[0][OUT].record["code"] == "guidelab r"


def test_digests_of_two_branches_do_not_combine(tmp_path):
    """Merged code has a third digest: neither branch's ledger names it, so the job counts as outdated."""
    names = [write_ledger(tmp_path, code=code) for code in ("bbbb", "cccc")]
    for name in names:
        write_record(tmp_path, name, code="dddd")
        assert code_of(tmp_path)[0] == "aaaa"


def test_a_table_renames_drops_and_adds_keys():
    table = {
        "keys": {"sampler.low": "sampler.sigma_min", "terms.*.w": None},
        "values": {"terms.*.stages": "both"},
    }
    now = accepted.translated(RAN, table, "bbbb")
    assert now == {
        "code": "bbbb",
        "inputs": {},
        "sampler": {"sigma_min": 1},
        "terms": [{"stages": "both"}] * 2,
    }
    assert RAN["sampler"] == {"low": 1}
    assert accepted.translated(RAN, {"values": {"sampler.low": 2}}, "b")["sampler"] == {"low": 1}, (
        "it had one"
    )
    with pytest.raises(UserError, match=r"keys: sampler\.low: the old payloads hold low and w"):
        accepted.translated(
            {**RAN, "sampler": {"low": 1, "w": 2}}, {"keys": {"sampler.low": "sampler.w"}}, "b"
        )
    with pytest.raises(UserError, match=r"wanted a new name at the same place: sampler\.name"):
        accepted.translated(RAN, {"keys": {"sampler.low": "low"}}, "b")


def test_a_table_replaces_words_and_may_hold_for_one_rule():
    ran = {"command": "image_train", "inputs": {}, "code": "a"}
    table = {"replaced": {"command": {"image_train": "train"}}, "values": {"train:label": "x"}}
    assert accepted.translated(ran, table, "b", "train") == {
        **ran,
        "command": "train",
        "label": "x",
        "code": "b",
    }
    assert accepted.translated(ran, table, "b", "null") == {**ran, "command": "train", "code": "b"}
    assert accepted.translated(ran, {"keys": {"train:command": None}}, "b", "train") == {
        "inputs": {},
        "code": "b",
    }
    assert accepted.translated({**ran, "command": "sample"}, table, "b", "x")["command"] == "sample"


def test_a_ledger_with_a_table_of_one_rule_is_read_with_the_rule_of_the_record(tmp_path):
    table = {**accepted.NO_TABLE, "values": {"r:label": "x", "other:label": "y"}}
    now = accepted.translated(RAN, table, "bbbb", "r")
    content = {
        "jobs": {OUT: accepted.line(RAN, now, {OUT: "00"})},
        "table": table,
        "previous": [],
        "shell": {},
    }
    write_record(tmp_path, accepted.write(tmp_path, "e", content))
    entries, complaint = records.read(tmp_path, STAGE)
    assert complaint is None and accepted.payload_of(entries[OUT].record["params"])["label"] == "x"


def test_a_ledger_that_is_absent_or_has_another_name_is_refused_with_the_reason(tmp_path):
    name = write_ledger(tmp_path)
    path = tmp_path / f"results/e/accepted/{name}.json"
    path.rename(path.with_name("0123456789abcdef.json"))
    write_record(tmp_path, name)
    assert "no such file" in code_of(tmp_path)[1]
    write_record(tmp_path, "0123456789abcdef")
    code, complaint = code_of(tmp_path)
    assert code == "aaaa" and "was edited" in complaint
