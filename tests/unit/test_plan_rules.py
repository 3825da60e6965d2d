"""The table of rules: it agrees with the rule files, with the builders, with every planned path, and with the commands."""

import inspect
import json
import re
from pathlib import Path

import pytest

from guidelab.plan.plan import Plan
from guidelab.plan.rule import WILDCARDS
from guidelab.plan.rules import RULES, maker
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_spec(ROOT / "params.yaml"))


def written() -> dict[str, tuple[str, str]]:
    """The rules of the rule files: the file and the text of each."""
    pattern = r"^use rule job as (\w+) with:\n(.*?)(?=^use rule |^rule |\Z)"
    return {
        name: (file, body)
        for file, text in FILES.items()
        for name, body in re.findall(pattern, text, re.M | re.S)
    }


def section(body: str, name: str) -> str:
    found = re.search(rf"^    {name}:\n((?:        .*\n| *\n)+)", body, re.M)
    assert found, name
    return found[1]


def test_every_rule_is_in_the_table_once_and_in_the_rule_file_of_its_builder():
    assert set(written()) == set(RULES)
    for name, (file, _) in written().items():
        assert RULES[name].build.__module__ == f"guidelab.plan.build.{file}", name
    others = {name for text in FILES.values() for name in re.findall(r"^rule (\w+):", text, re.M)}
    assert others == {"job", "manifest"}, "a rule that is not made from the base rule"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_file_writes_what_the_table_says(rule):
    _, body = written()[rule]
    literal = [
        text for text in re.findall(r'"([^"]+)"', section(body, "output")) if text.startswith("results/")
    ]
    assert tuple(literal) == RULES[rule].outputs
    wildcards = set(re.findall(r"{(\w+)}", RULES[rule].outputs[0]))
    assert all(set(re.findall(r"{(\w+)}", output)) == wildcards for output in RULES[rule].outputs)
    assert wildcards <= set(WILDCARDS) and set(re.findall(r"{(\w+)}", section(body, "log"))) == wildcards
    assert body.startswith(f'    """{RULES[rule].help}"""\n')
    assert f'files("{rule}")' in section(body, "input") and f'payload("{rule}")' in section(body, "params")


@pytest.mark.parametrize("rule", RULES)
def test_a_builder_takes_the_names_of_the_rules_wildcards(rule):
    taken = list(inspect.signature(RULES[rule].build).parameters)
    assert taken[1:] == list(RULES[rule].wildcards[1:])


def test_the_examples_of_the_help_are_planned_jobs(plan):
    for rule in RULES.values():
        for example in rule.examples:
            job = plan.job(rule.name, *example.split())
            assert job.rule == rule.name and len(job.outputs) == len(rule.outputs)


def test_one_module_does_the_jobs_of_a_rule_in_every_experiment(plan):
    """No payload names another module, and each rule is planned by some experiment."""
    for rule in RULES.values():
        assert (ROOT / f"src/guidelab/jobs/{rule.entry}.py").is_file(), rule.name
        planned = [
            (e, names) for e in plan.spec.experiments for names in plan.experiment(e).planned(rule.name)
        ]
        assert planned, rule.name
        for e, names in planned[:1] + planned[-1:]:
            assert "command" not in json.loads(plan.payload(rule.name, e, *names))


def test_a_path_leads_back_to_its_job_and_to_no_other(plan):
    made: dict[str, tuple[str, ...]] = {}
    for name in plan.spec.experiments:
        e = plan.experiment(name)
        for rule in RULES:
            for names in e.planned(rule):
                for path in e.outputs(rule, *names):
                    assert path not in made, (path, made[path])
                    made[path] = (rule, name, *names)
    wrong = [path for path, key in made.items() if maker(path) != key]
    assert not wrong
    assert len(made) > 2500
    for path in (
        "results/toy2d/manifests/data.json",
        "results/report.html",
        "params.yaml",
        "results/toy2d/samples",
    ):
        assert maker(path) is None, path


def test_every_planned_file_belongs_to_the_stage_that_the_table_names(plan):
    for name in plan.spec.experiments:
        owner = {path: stage.name for stage in plan.stages(name) for path in stage.files}
        e = plan.experiment(name)
        for rule in RULES.values():
            for names in e.planned(rule.name):
                assert {owner[path] for path in e.outputs(rule.name, *names)} == {rule.stage_of(names)}, names


def test_what_a_rule_counts_exists():
    for rule in RULES.values():
        module, _, function = rule.cost.partition(".")
        text = (ROOT / f"src/guidelab/costs/{module}.py").read_text() if module else f"def {function}("
        assert f"def {function}(" in text, rule.name
