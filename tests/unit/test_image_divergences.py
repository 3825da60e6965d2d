# ruff: noqa: RUF001 - Greek letters are what readers see
"""Divergences of images: against Gaussian images with known answers, and what their jobs may see."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.special import expit
from torch import nn

from guidelab.assemble import Nets
from guidelab.divergence.estimate import estimate
from guidelab.divergence.noisy import Examples, denoised, logits_and_shifts, noisy
from guidelab.divergence.subject import Space, Subject
from guidelab.errors import UserError
from guidelab.jobs.diverge import COLUMNS
from guidelab.jobs.subjects import denoisers
from guidelab.paper import divergence_table
from guidelab.paper.figures import along
from guidelab.paper.figures import divergence_points as points
from guidelab.paper.figures import divergence_weight as weight
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec
from guidelab.train.probe import train_probe

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "params.yaml").read_text())
SHIFT, VARIANCE, PIXELS = 0.15, 0.04, 16  # q's mean, p's and q's variance in every pixel
PROBE = {"hidden": 8, "lr": 3e-3, "weight_decay": 0.0, "batch": 128, "iterations": 300, "evaluate_every": 20,
         "patience": 5, "validation": 0.2, "test": 0.4, "seed": 0}  # fmt: skip
SIGMAS = (0.05, 2.0)
ASKED = {"bins": 3, "draws": 1, "permutations": 99, "seed": 1, "probe": PROBE}


class ExactRatio(nn.Module):
    """log p/q of the noisy images."""

    classes = 0

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x, sigma, cond=None):
        total = (SHIFT**2 - 2 * SHIFT * x).flatten(1).sum(1)
        return self.sign * total / (2 * (VARIANCE + sigma**2))


def exact(mean):
    def predict(x, sigma, labels):
        level = sigma[:, None, None, None] ** 2
        return (VARIANCE * x + level * mean) / (VARIANCE + level)

    return predict


def images(mean: float, n: int, seed: int) -> Examples:
    clean = mean + VARIANCE**0.5 * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Examples((clean * 127.5 + 128).clip(0, 255).to(torch.uint8) / 127.5 - 1)


def vectors(mean: float, n: int, seed: int) -> torch.Tensor:
    return mean + torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def subject(*, guided=True, real=False, sign=1.0) -> Subject:
    other = 0.0 if real else SHIFT
    space = Space(
        vectors(0, 2000, 5), vectors(0 if real else 0.5, 800, 6), vectors(0 if real else 0.5, 400, 7), "f00d"
    )
    return Subject(
        grader=ExactRatio(0.0 if real else sign),
        main=exact(other),
        sampler=exact(0.0) if guided else exact(other),
        guided=guided,
        report=(images(0.0, 3000, 1), images(other, 1000, 2)),
        fitted=(images(0.0, 500, 3), images(other, 500, 4)),
        spaces={"lite0": space},
    )


def lines_of(given: Subject):
    return list(estimate(ASKED, SIGMAS, given))


@pytest.fixture(scope="module")
def lines():
    return {"none": lines_of(subject(guided=False)), "cfg": lines_of(subject()), "null": lines_of(subject(guided=False, real=True))}  # fmt: skip


def one(lines, kind, estimator, divergence=""):
    (found,) = [
        x.value for x in lines if (x.kind, x.estimator, x.divergence) == (kind, estimator, divergence)
    ]
    return found


def score_error() -> float:
    """int sigma^2 |s_p - s_q|^2 d ln sigma: the shift's square over twice the growing variance."""
    low, high = SIGMAS
    return PIXELS * SHIFT**2 / 2 * (1 / (VARIANCE + low**2) - 1 / (VARIANCE + high**2))


def near(value, truth, sigmas=4.0):
    assert abs(value.value - truth) < sigmas * value.std_error, (value, truth)


def test_guidance_to_the_truth_gains_the_whole_score_error(lines):
    near(one(lines["cfg"], "estimate", "gain_guidance", "score_error"), score_error())


def test_the_graders_gain_is_the_remaining_error_and_negative_once_it_is_removed(lines):
    near(one(lines["none"], "estimate", "gain_grader", "score_error"), score_error())
    near(one(lines["cfg"], "estimate", "gain_grader", "score_error"), -score_error())


def test_the_bound_at_the_lowest_level_reaches_kl_and_a_wrong_sign_does_not(lines):
    kl = PIXELS * SHIFT**2 / (2 * (VARIANCE + SIGMAS[0] ** 2))
    near(one(lines["none"], "estimate", "dv", "kl"), kl)
    wrong = lines_of(subject(guided=False, sign=-1.0))
    assert one(wrong, "estimate", "nwj_raw", "js").value < 0
    assert abs(one(wrong, "estimate", "nwj", "js").value) < 0.01  # switched off by its calibration
    assert abs(one(wrong, "estimate", "gain_grader", "score_error").value) < 0.01


def test_headline_rows_are_of_the_grader_recalibrated_on_other_images():
    """An overconfident grader (factor 3) is corrected; one fitted on equal sides is switched off."""
    kl = PIXELS * SHIFT**2 / (2 * (VARIANCE + SIGMAS[0] ** 2))
    sure = lines_of(subject(guided=False, sign=3.0))
    assert one(sure, "estimate", "nwj_raw", "kl").value < 0
    assert one(sure, "estimate", "nwj", "kl").value > 0.6 * kl
    assert one(sure, "estimate", "gain_grader", "score_error").value > 0.6 * score_error()
    assert one(sure, "estimate", "integral", "kl").value == pytest.approx(
        kl, rel=0.35
    )  # nine times as much, raw
    given = subject(guided=False)
    off = lines_of(replace(given, fitted=(given.fitted[0], images(0.0, 500, 4))))
    assert one(off, "estimate", "nwj_raw", "js").value > 0.1
    assert abs(one(off, "estimate", "nwj", "js").value) < 0.03


def test_weighted_gains_carry_the_weight_of_points_of_p(lines):
    low, high = SIGMAS
    levels = np.exp((np.arange(400) + 0.5) / 400 * np.log(high / low)) * low
    spread = PIXELS * SHIFT**2 / (VARIANCE + levels**2)  # l ~ N(spread / 2, spread) under p
    z = np.linspace(-8, 8, 2001)
    normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    weight = np.trapezoid(
        normal * 0.5 * expit(-(spread[:, None] / 2 + spread[:, None] ** 0.5 * z)), z, axis=1
    )
    truth = float(np.mean(weight * levels**2 * spread / (VARIANCE + levels**2)) * np.log(high / low))
    near(one(lines["none"], "estimate", "weighted_gain", "js"), truth)


def test_the_integral_of_the_exact_ratio_is_kl(lines):
    kl = PIXELS * SHIFT**2 / (2 * (VARIANCE + SIGMAS[0] ** 2))
    assert one(lines["none"], "estimate", "integral", "kl").value == pytest.approx(kl, rel=0.05)


def test_real_against_real_is_zero_within_its_interval(lines):
    for estimator, divergence in (("nwj", "js"), ("dv", "kl"), ("gain_grader", "score_error")):
        found = one(lines["null"], "estimate", estimator, divergence)
        assert abs(found.value) <= 2 * found.std_error + 1e-9
    assert one(lines["null"], "check", "p_value@lite0").value > 0.02
    js = one(lines["null"], "estimate", "nwj@lite0", "js")
    assert abs(js.value) < 3 * js.std_error + 1e-9


def test_the_estimate_in_features_is_near_their_divergence(lines):
    kl = 5 * 0.5**2 / 2
    found = one(lines["none"], "estimate", "dv@lite0", "kl")
    assert found.value == pytest.approx(kl, abs=0.25 * kl + 2 * found.std_error)
    assert one(lines["none"], "check", "p_value@lite0").value == 0.01


def test_a_probe_never_keeps_a_net_worse_than_none():
    noise = train_probe({**PROBE, "lr": 0.5}, vectors(0, 60, 1), vectors(0, 60, 2), 0)
    assert (noise.at_data.abs().max() == 0) == (noise.best_at == 0)
    with pytest.raises(UserError, match="probe: 20 vectors"):
        train_probe(PROBE, vectors(0, 20, 1), vectors(0, 60, 2), 0)


def test_noise_is_antithetic_and_within_its_range():
    made = noisy(images(0.0, 40, 0), 0.1, 1.0, 2, torch.Generator().manual_seed(0))
    assert made.x.shape == (40, 4, 1, 4, 4)
    mean = (made.x[:, 0] + made.x[:, 1]) / 2
    assert torch.allclose(mean, made.clean, atol=1e-6)
    assert ((made.sigma >= 0.1) & (made.sigma <= 1.0)).all()


def test_shifts_are_what_the_grader_would_add_to_a_denoiser():
    at = noisy(images(0.0, 20, 0), 0.1, 1.0, 1, torch.Generator().manual_seed(0))
    _, shift = logits_and_shifts(ExactRatio(), at)
    gap = denoised(exact(0.0), at) - denoised(exact(SHIFT), at)
    assert torch.allclose(shift, gap, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_device_changes_estimates_by_rounding():
    given = subject(sign=3.0)  # so that it is recalibrated
    here, there = (
        {
            (x.kind, x.estimator, x.divergence, x.sigma_lo): x.value.value
            for x in lines_of(replace(given, where=where))
        }
        for where in (torch.device("cpu"), torch.device("cuda", 0))
    )
    assert here.keys() == there.keys()
    assert all(there[key] == pytest.approx(value, rel=1e-3, abs=1e-4) for key, value in here.items())


def test_an_interval_of_guidance_is_on_inside_and_off_outside_and_labels_arrive():
    class Net(nn.Module):
        classes = 10

        def forward(self, x, sigma, cond=None):
            return cond[:, None, None, None].to(x.dtype).expand_as(x)

    class Blind(Net):
        def forward(self, x, sigma, cond=None):
            return torch.zeros_like(x)

    term = {"method": "reference", "ref": "weak", "disc": None, "weight": 2.0, "sigma_lo": 0.1, "sigma_hi": 1.0,
            "stages": "both"}  # fmt: skip
    spec = {"main": "main", "terms": [term], "sampler": {"dtype": "float32"}}
    spec["degrade"] = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "weak")}
    main, guided = denoisers(spec, Nets({"main": Net(), "weak": Blind()}, {}))
    x, sigma, labels = torch.zeros(3, 1, 2, 2), torch.tensor([0.05, 0.5, 2.0]), torch.tensor([3, 4, 5])
    assert main(x, sigma, labels)[:, 0, 0, 0].tolist() == [3, 4, 5]
    assert guided(x, sigma, labels)[:, 0, 0, 0].tolist() == [3, 8, 5]


# ---- print ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(lines):
    made = []
    points = {"null": "real_vs_real", "none": "none/w1.00", "cfg": "cfg/w2.00"}
    for name in points:
        for x in lines[name]:
            told = {**vars(x), **vars(x.value), "bound": "yes" if x.bound else "no"}
            made.append(
                {"point": points[name], "train_seed": 0, "experiment": "e", "scale": "reduced", **told}
            )
    return pd.DataFrame(made).reindex(columns=COLUMNS)


SPEC = {"experiment": "e", "scale": "reduced"}


def test_the_table_says_what_bounds_are_and_what_pixels_cannot_show(rows):
    made = divergence_table.make_table(rows, SPEC)
    text = divergence_table.to_markdown(made, rows)
    assert "real against real" in text and "lite0: JS ≥" in text
    assert "traces no eye sees" in text and "lower bound" in text and "no bound" in text
    assert "\\begin{tabular}" in divergence_table.to_latex(made, rows)
    made = made.set_index(["point", "divergence", "estimator"])
    assert made.loc[("cfg/w2.00", "score_error", "gain_guidance"), "estimates"] == "nothing known"
    assert made.loc[("none/w1.00", "js", "nwj@lite0"), "sigma_hi"] == 0


def test_the_figure_along_sigma_has_the_null_and_states_its_range(rows):
    info = {**SPEC, "settings": {"points": ["none", "cfg/w2.00"]}}
    drawn = along.rows({"divergences": rows}, info)
    assert set(drawn["point"]) == {"real_vs_real", "none/w1.00", "cfg/w2.00"}
    figure = along.make(drawn, info)
    said = " ".join(t.get_text() for t in figure.texts).replace("\n", " ")
    assert "σ 0.05 to 2" in said and "lower bounds" in said
    assert len(figure.axes) == len(along.BOUNDS)


def test_the_figure_of_points_draws_bounds_beside_metrics(rows, monkeypatch):
    fid = [{"panel": "FID, Lite0", "metric": "fid@lite0", "point": "cfg/w2.00", "n": 1000, "bound": "no",
            "value": 3.0, "lo": 2.0, "hi": 4.0, "status": "ok"}]  # fmt: skip
    monkeypatch.setattr(points.plotted, "at_points", lambda *a: fid)
    info = {**SPEC, "settings": {"variants": ["cfg"], "metrics": ["fid@lite0"]}}
    made = weight.rows({"divergences": rows}, info)
    assert {"JS ≥, pixels, σ = 0.05", "JS ≥, Lite0", "gain of guidance, nats", "FID, Lite0"} <= set(
        made["panel"]
    )
    figure = weight.make(made, info)
    drawn = [panel for panel in dict.fromkeys(made["panel"]) if panel != "KL(p‖q) ≥, Lite0"]  # not estimable
    assert [ax.get_label() for ax in figure.axes] == drawn


# ---- plan ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def test_a_grader_sees_images_and_samples_that_nothing_else_does(plan):
    e = plan.experiment("fashion")
    assert len(e.planned("diverge")) == 5
    guide = plan.job("discriminate", "fashion", "guide")
    for at in e.planned("diverge"):
        grading, grade = (plan.job(rule, "fashion", "grade", *at) for rule in ("grading", "grade"))
        diverge = plan.job("diverge", "fashion", *at)
        assert grade.inputs["generated"] == grading.outputs
        assert diverge.inputs["grader"] == grade.outputs
        assert diverge.inputs["real"] == ("results/fashion/data/reference.zip",)
        assert not set(grade.inputs["real"]) & {*guide.inputs["real"], *diverge.inputs["real"]}
        first, last = grading.spec["blocks"]["generated"]
        for a, b in [*diverge.spec["blocks"].values(), e.spec.discriminators["guide"].drawn.seeds]:
            assert b < first or a > last
        sample = json.loads(plan.payload("sample", "fashion", *at))
        assert sample["grader_blocks"] == {}  # nothing that was drawn is drawn again


def test_divergences_of_images_are_planned_where_they_are_configured(plan):
    for name in ("fashion_full", "fashion_ablations", "imagenet512"):
        stages = [stage.name for stage in plan.stages(name)]
        assert "diverge" not in stages and "grade" not in stages
    null = plan.job("null", "fashion")
    assert null.spec["apart"] == 4000 and null.spec["train_seeds"] == [0]
    assert json.loads(plan.payload("diverge_null", "fashion"))["terms"] == []


MISTAKES = {
    "graded on the guide's fold": (
        lambda e: e["divergences"].update(real="holdout"),
        "divergences.real: given 'holdout', on which guide is trained",
    ),
    "truths that images have not": (
        lambda e: e["divergences"].update(theorem=[1.0]),
        "divergences.theorem: given, but needs an exact density",
    ),
    "no probe": (lambda e: e["divergences"].pop("probe"), "divergences.probe: is missing"),
    "a null of another fold": (
        lambda e: e["divergences"].update(null_real="holdout"),
        "divergences.null_real: given 'holdout', wanted 'graded'",
    ),
    "a grader that is a classifier": (
        lambda e: e["discriminators"]["grade"]["net"].update(name="small_classifier"),
        "discriminators.grade.net.name: given 'small_classifier', wanted a discriminator for the role 'grade'",
    ),
    "a grader on borrowed features": (
        lambda e: e["discriminators"]["grade"].update(extractor="clean"),
        "discriminators.grade.extractor: given 'clean', wanted none",
    ),
    "a grader seeded as a guide": (
        lambda e: e["discriminators"]["grade"]["train"].update(seed=2),
        "discriminators.grade.train.seed: given 2, the seed of 'guide'",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name, tmp_path):
    change, wanted = MISTAKES[name]
    raw = copy.deepcopy(RAW)
    for other in ("fashion_full", "fashion_ablations", "fashion_ci"):
        del raw["experiments"][other]
    change(raw["experiments"]["fashion"])
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError) as error:
        load_spec(path)
    assert wanted in str(error.value)
