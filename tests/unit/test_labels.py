"""Labels, groups and looks of variants: from params.yaml, else from their terms; they reach printing jobs alone."""

import json
from pathlib import Path

import pytest
import yaml

from guidelab.errors import UserError
from guidelab.paper import names
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.spec.labels import METHODS, printed
from guidelab.spec.load import load_spec, spec_of

ROOT = Path(__file__).parents[2]
SPEC = load_spec(ROOT / "params.yaml")
RAW = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
GUIDES, DEGRADED = "Choice of the weak model", "Degraded main model"


def changed(**keys: object) -> Plan:
    """Toy2d at CI size with these keys in variant autog."""
    raw = {"default": ["a"], "experiments": {n: RAW["experiments"][n] for n in ("toy2d", "toy2d_ci")}}
    raw["experiments"]["a"] = {"extends": "toy2d_ci", "variants": {"autog": keys}}
    return Plan(spec_of(raw, "params.yaml"))


@pytest.mark.parametrize(
    ("experiment", "variant", "label", "section", "method"),
    [
        ("toy2d", "none", "no guidance", METHODS, "no guidance"),
        ("toy2d", "cfg_interval", "CFG, interval", METHODS, "CFG"),
        ("toy2d", "autog_t16", "guide: 1/16 of training", GUIDES, "autoguidance"),
        ("fashion", "dg_autog", "DG + autoguidance", METHODS, "several terms"),
        ("fashion_full", "cfg_s6", "CFG, 6 steps", METHODS, "CFG"),
        ("fashion_full", "dg_it120", "DG, 120 iterations", "Training of the discriminator", "DG"),
        ("fashion_ablations", "icg", "independent condition (ICG)", METHODS, "ICG"),
        ("imagenet512", "xxl_interval_fd", "XXL: CFG, interval (tuned for FD)", METHODS, "CFG"),
        ("imagenet512", "uncond_autog", "unconditional: autoguidance", METHODS, "autoguidance"),
        ("imagenet512", "noise20", "input noise 20 %, no guidance", DEGRADED, "no guidance"),
        ("imagenet512_curves", "guide_xxs", "guide: XXS", GUIDES, "autoguidance"),
        (
            "imagenet512_curves",
            "guide_e060",
            "guide's EMA 0.060",
            "Length of the average (EMA)",
            "autoguidance",
        ),
        ("imagenet256", "cfg", "CFG", METHODS, "CFG"),
        ("imagenet256", "validation", "validation images", METHODS, "no guidance"),
        ("cifar10", "dg_u_both", "DG, both stages, unconditional", METHODS, "DG"),
    ],
)
def test_words_for_the_variants_of_params_yaml(experiment, variant, label, section, method):
    found = printed(SPEC.experiments[experiment])[variant]
    assert (found["label"], found["section"], found["method"]) == (label, section, method)


@pytest.mark.parametrize("experiment", SPEC.experiments)
def test_no_two_variants_have_one_label(experiment):
    labels = [about["label"] for about in printed(SPEC.experiments[experiment]).values()]
    assert len(labels) == len(set(labels))


def test_jobs_keep_the_order_of_params_yaml_although_json_sorts_keys():
    plan = Plan(SPEC)
    job = json.loads(plan.payload("figure", "toy2d", "sweep"))
    with names.of(job):
        assert list(names.looks()) == list(SPEC.experiments["toy2d"].variants)
        assert names.label("autog") == "autoguidance" and names.section("dropout") == DEGRADED


def test_variants_that_differ_in_steps_or_iterations_are_drawn_alike():
    found = printed(SPEC.experiments["fashion_full"])
    assert {v: found[v]["like"] for v in ("cfg_s6", "none_s18", "dg_it120", "autog_t4")} == {
        "cfg_s6": "cfg", "none_s18": "none", "dg_it120": "dg", "autog_t4": "autog_t4",
    }  # fmt: skip


def test_a_label_reaches_printing_jobs_alone():
    plain, named = changed(), changed(label="ours", group="Mine", look={"color": "#123456", "marker": "s"})
    assert printed(named.spec.experiments["a"])["autog"] | {"like": ""} == {
        "label": "ours", "section": "Mine", "method": "autoguidance", "hue": "Mine", "main": "main", "like": "", "color": "#123456", "marker": "s",
    }  # fmt: skip
    differ, compared = set(), 0
    for rule in RULES:
        for instance in plain.experiment("a").planned(rule):
            compared += 1
            if plain.payload(rule, "a", *instance) != named.payload(rule, "a", *instance):
                differ.add(rule)
    assert compared > 30
    assert differ == {"table", "story", "figure", "divergences"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"label": "x" * 81}, "at most 80 characters"),
        ({"label": "a\nb"}, "plain text"),
        ({"label": "a\x07b"}, "plain text"),
        ({"group": "$x$"}, "plain text"),
        ({"label": 3}, "wanted text"),
        ({"look": {"color": "red"}}, "look.color"),
        ({"look": {"marker": "spoon"}}, "look.marker"),
        ({"look": {"colour": "#123456"}}, "colour"),
    ],
)
def test_words_that_cannot_be_printed_are_refused(keys, said):
    with pytest.raises(UserError) as error:
        changed(**keys)
    assert said in str(error.value) and "autog" in str(error.value)


def test_a_figure_of_a_group_of_no_variant_is_refused():
    raw = {"default": ["a"], "experiments": {n: RAW["experiments"][n] for n in ("toy2d", "toy2d_ci")}}
    raw["experiments"]["a"] = {
        "extends": "toy2d_ci",
        "paper": {"figures": {"sweep": {"group": "Degraded main mode"}}},
    }
    with pytest.raises(UserError, match="did you mean 'Degraded main model'"):
        spec_of(raw, "params.yaml")
