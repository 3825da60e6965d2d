"""params.yaml: what is accepted, and the message of every kind of mistake."""

import json
from pathlib import Path

import pytest
import yaml

from guidelab.errors import UserError
from guidelab.spec.load import load_spec, merge
from guidelab.spec.reading import read_yaml
from guidelab.spec.schema import json_schema

ROOT = Path(__file__).parents[2]


def broken(tmp_path: Path, change) -> str:
    """The message that a change of the shipped params.yaml gets."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(raw)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError) as error:
        load_spec(path)
    return str(error.value)


def toy(raw):
    return raw["experiments"]["toy2d"]


def test_shipped_parameters_are_valid():
    spec = load_spec(ROOT / "params.yaml")
    assert set(spec.default) <= set(spec.experiments)
    assert spec.experiments["toy2d"].denoisers["s"].train.nimg == 4096 * 4096
    assert spec.experiments["toy2d"].evaluate.blocks["select"] == (0, 4095)


MISTAKES = {
    "unknown key": (
        lambda raw: toy(raw)["sampler"].update(stps=3),
        ["experiments.toy2d.sampler.stps: unknown key", "did you mean 'steps'?"],
    ),
    "unknown key deep in a list of mappings": (
        lambda raw: toy(raw)["variants"]["cfg"]["guide"].update(sigma_low=0.1),
        ["variants.cfg.guide.0.sigma_low: unknown key", "'sigma_lo'"],
    ),
    "unknown net": (
        lambda raw: toy(raw)["models"]["main"].update(denoiser="ss"),
        ["models.main.denoiser: given 'ss', wanted a denoiser", "did you mean 's'?"],
    ),
    "unknown method": (
        lambda raw: toy(raw)["variants"]["cfg"]["guide"].update(method="referense"),
        ["variants.cfg.guide.0.method: method 'referense' is not known", "did you mean 'reference'?"],
    ),
    "float written as text": (
        lambda raw: toy(raw)["denoisers"]["s"]["train"].update(lr="1e-2x"),
        ["denoisers.s.train.lr: given '1e-2x', wanted a valid number", "write 1.0e-2"],
    ),
    "divergences on the guide's fold": (
        lambda raw: toy(raw)["divergences"].update(real="train"),
        ["divergences.real: given 'train', on which guide is trained; wanted a fold no net has seen"],
    ),
    "temperatures fitted on what is reported": (
        lambda raw: toy(raw)["divergences"].update(calibrate="report1"),
        ["divergences.calibrate: given 'report1', a block that is reported"],
    ),
    "repeats with seeds that are used": (
        lambda raw: toy(raw)["divergences"]["coverage"].update(seeds="2000000-2102399"),
        [
            "divergences.coverage.seeds: given 2000000-2102399, which overlaps discriminators.grade.generated.seeds"
        ],
    ),
    "repeats with too few seeds": (
        lambda raw: toy(raw)["divergences"]["coverage"].update(seeds="3000000-3000009"),
        ["3000000-3000009 are 10, wanted draws x n_samples = 102400"],
    ),
    "a grader that is none": (
        lambda raw: toy(raw)["divergences"].update(grader="guide"),
        ["divergences.grader: given 'guide', wanted a discriminator that grades"],
    ),
    "a figure of divergences without any": (
        lambda raw: raw["experiments"]["toy2d_full"]["paper"]["figures"].pop("divergence_sigma"),
        ["toy2d_full.paper.figures.divergence_sigma: is made of `divergences`, which is not given"],
    ),
    "a scale nobody knows": (
        lambda raw: toy(raw).update(scale="smok"),
        ["experiments.toy2d.scale: given 'smok', wanted 'full', 'reduced', 'ci' or 'smoke'"],
    ),
    "missing key": (lambda raw: toy(raw).pop("sampler"), ["experiments.toy2d.sampler: is missing"]),
    "a grader that guides": (
        lambda raw: toy(raw)["variants"]["dg"]["guide"].update(disc="grade"),
        ["a discriminator that grades never guides"],
    ),
    "grader on the guide's fold": (
        lambda raw: toy(raw)["discriminators"]["grade"].update(real="train"),
        ["shares no real data with a guide"],
    ),
    "grader on the guide's samples": (
        lambda raw: toy(raw)["discriminators"]["grade"]["generated"].update(seeds="1000100-1000200"),
        ["which overlaps discriminators.guide.generated.seeds"],
    ),
    "blocks that meet": (
        lambda raw: toy(raw)["evaluate"]["blocks"].update(report1="4000-8095"),
        ["evaluate.blocks.report1: given 4000-8095, which overlaps evaluate.blocks.select"],
    ),
    "blocks of unequal size": (
        lambda raw: toy(raw)["evaluate"]["blocks"].update(report1="100000-100095"),
        ["wanted blocks of equal size"],
    ),
    "two swept terms": (
        lambda raw: toy(raw)["variants"]["dg_autog"]["guide"][0].pop("weight"),
        ["variants.dg_autog.guide: 2 terms without `weight`"],
    ),
    "a cycle": (
        lambda raw: toy(raw)["discriminators"]["guide"]["generated"].update(variant="dg/w1.00"),
        ["discriminators.guide: needs itself: guide -> guide"],
    ),
    "unknown point": (
        lambda raw: toy(raw)["paper"].update(headline=["cfg/w4.10"]),
        ["paper.headline: given 'cfg/w4.10'", "w4.00"],
    ),
    "weight with three decimals": (
        lambda raw: toy(raw)["variants"]["cfg"].update(weights=[1.255]),
        ["given 1.255, wanted at most two decimals"],
    ),
    "length that is no snapshot": (
        lambda raw: toy(raw)["models"]["weak"].update(nimg="3Mi"),
        ["models.weak.nimg: given 3145728, wanted a snapshot of xs"],
    ),
    "default names nothing": (lambda raw: raw.update(default=["toy2"]), ["default: given 'toy2'", "'toy2d'"]),
    "training seed without a net": (
        lambda raw: toy(raw)["variants"]["autog_xs"].update(train_seeds=[3]),
        ["variants.autog_xs.train_seeds: given 3, wanted one of [0]"],
    ),
    "extends nothing": (
        lambda raw: raw["experiments"]["toy2d_ci"].update(extends="toy2dd"),
        ["extends: given 'toy2dd', wanted an experiment", "'toy2d'"],
    ),
    "extends in a circle": (
        lambda raw: raw["experiments"]["toy2d"].update(extends="toy2d_ci"),
        ["goes in a circle"],
    ),
    "two folds with one seed": (
        lambda raw: toy(raw)["folds"]["holdout"].update(seed=11),
        ["folds.holdout.seed: given 11, the seed of 'train'"],
    ),
    "a negative weight": (
        lambda raw: toy(raw)["variants"]["truncation"].update(weights=[-1.1]),
        ["variants.truncation.weights.0: given -1.1", "greater than or equal to 0"],
    ),
    "an infinite weight": (
        lambda raw: toy(raw)["variants"]["truncation"].update(weights=[float("inf")]),
        ["variants.truncation.weights.0: given inf"],
    ),
    "an EMA nobody can have": (
        lambda raw: toy(raw)["models"]["averaged"].update(ema_std=3.0),
        ["models.averaged.ema_std: given 3.0", "less than 0.2886"],
    ),
    "a window inside out": (
        lambda raw: toy(raw)["paper"]["figures"]["fig9"].update(window=[1.0, 0.0, 0.0, 1.0]),
        ["paper.figures.fig9.window", "x0 < x1"],
    ),
    "more neighbours than samples": (
        lambda raw: toy(raw)["evaluate"].update(neighbours=5000),
        ["evaluate.neighbours: given 5000"],
    ),
    "a figure of a training nobody made": (
        lambda raw: toy(raw)["paper"]["figures"]["fig1"].update(train_seed=9),
        ["paper.figures.fig1.train_seed: given 9, wanted one of [0]"],
    ),
    "metric misspelt": (
        lambda raw: toy(raw)["evaluate"]["metrics"].append("recal"),
        ["metric 'recal' is not known", "did you mean 'recall'?"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_names_where_given_wanted_and_closest(name, tmp_path):
    change, expected = MISTAKES[name]
    message = broken(tmp_path, change)
    for part in expected:
        assert part in message
    assert all(line.startswith(str(tmp_path)) for line in message.splitlines())


TEXTS = {
    "no file": (None, "no such file"),
    "not yaml": ("a:\n  b: [1\n", "line 3"),
    "a list": ("- a\n", "holds a list, wanted a mapping"),
    "repeated key": ("default: [a]\ndefault: [b]\n", "the key 'default' is given twice"),
    "alias bomb": ("a: &a [1]\nb: [*a, *a]\n", "aliases (*name) are not allowed"),
    "python object": ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    "number as key": ("1: 2\n", "the key 1 is a number, wanted text"),
    "deep nesting": ("[" * 5000, "cannot be read"),
    "not utf-8": (b"\xff\xfe\x00", "cannot be read"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_malicious_and_broken_yaml_is_refused_with_one_message(name, tmp_path):
    text, expected = TEXTS[name]
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(
        UserError, match="(?s)" + expected.replace("(", r"\(").replace(")", r"\)").replace("*", r"\*")
    ):
        read_yaml(path)


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(UserError, match="wanted at most"):
        read_yaml(path)


def test_extends_merges_mappings_replaces_lists_and_removes_with_null():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 2, "c": {"z": 1}}
    assert merge(base, {"a": {"y": [3]}, "b": None, "d": 4}) == {
        "a": {"x": 1, "y": [3]},
        "c": {"z": 1},
        "d": 4,
    }


def test_schema_file_is_the_one_generated():
    committed = json.loads((ROOT / "workflow/schemas/params.schema.json").read_text())
    assert committed == json.loads(json.dumps(json_schema())), (
        "run: guidelab schema > workflow/schemas/params.schema.json"
    )


def test_schema_accepts_what_the_loader_accepts_and_refuses_an_unknown_key():
    jsonschema = pytest.importorskip("jsonschema")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(raw)
    raw["experiments"]["toy2d"]["sampler"]["stps"] = 3
    assert not validator.is_valid(raw)
