# ruff: noqa: RUF001 - Greek letters are what readers see
"""Divergences of a sampler as they are reported: kinds, bounds, coverage; points along sigma; the table and figures."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import paper_cases
import pytest
import torch
from torch import nn

from guidelab.assemble import Nets
from guidelab.core.mixture import Mixture
from guidelab.divergence.estimate import estimate
from guidelab.divergence.noisy import Examples, logits_and_shifts, noisy
from guidelab.divergence.recalibrated import Recalibrated
from guidelab.divergence.subject import Exact, Subject
from guidelab.jobs.diverge import COLUMNS
from guidelab.jobs.subjects import denoisers
from guidelab.metrics import divergence_report as report
from guidelab.metrics.calibration import Calibration
from guidelab.metrics.divergence import DIVERGENCES, divergences, log_ratios
from guidelab.metrics.divergence_report import Line, Logits
from guidelab.metrics.units import log_edges
from guidelab.metrics.value import Value
from guidelab.paper import divergence_numbers, divergence_table
from guidelab.paper.figures import along, calibration
from guidelab.paper.figures import divergence_weight as weight

ASKED = {
    "bins": 4,
    "draws": 2,
    "permutations": 99,
    "seed": 1,
    "coverage": {"draws": 40, "n_real": 200, "n_samples": 200, "seeds": [0, 7999], "seed": 2},
}
QUICK = {**ASKED, "coverage": None}
SIGMAS = (0.1, 5.0)


def gaussian(mean: float, variance: float) -> Mixture:
    return Mixture(
        torch.ones(1), torch.full((1, 2), mean), variance * torch.eye(2)[None], dtype=torch.float64
    )


P, Q = gaussian(0.0, 0.5), gaussian(0.5, 0.6)


class ExactRatio(nn.Module):
    """log p/q as a discriminator would give it."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x, sigma, cond=None):
        p, q = (Tight.at(law, x, sigma) for law in (P, Q))
        return self.sign * (p - q)


class Tight:
    """Log-densities differentiable in float32 points."""

    @staticmethod
    def at(law: Mixture, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        variance = law.covs[0, 0, 0] + sigma.double() ** 2
        return -((x.double() - law.means[0]) ** 2).sum(1) / (2 * variance) - torch.log(2 * math.pi * variance)


class Data:
    """p with the methods of a dataset."""

    def score(self, x, sigma):
        return P.score(x, sigma)

    def draw(self, n, generator):
        return P.sample(torch.randn(n, 3, generator=generator))


def subject(sign: float = 1.0) -> Subject:
    g = torch.Generator().manual_seed(0)

    def draw(law, n):
        return law.sample(torch.randn(n, 3, generator=g))

    def of(law):
        return lambda x, sigma, labels: law.posterior_mean(x.double(), sigma.double()).to(x.dtype)

    def examples(law, n):
        return Examples(draw(law, n).double())

    sides = [noisy(examples(law, 20000), 0.1, 0.1, 1, g).x[:, 0] for law in (P, Q)]
    logs = {
        f"log_{name}_at_{side}": Tight.at(law, x, torch.tensor(0.1))
        for side, x in zip(("data", "model"), sides, strict=True)
        for name, law in (("p", P), ("q", Q))
    }
    return Subject(
        grader=ExactRatio(sign),
        main=of(Q),
        sampler=of(P),  # guidance that mends everything
        guided=True,
        report=(examples(P, 3000), examples(Q, 3000)),
        fitted=(examples(P, 1000), examples(Q, 1000)),
        exact=Exact(Data(), 0.1, divergences(log_ratios(**logs)), lambda a, b: draw(Q, b - a + 1)),
    )


def rows_of(lines: list[Line], point: str = "cfg/w2.00") -> pd.DataFrame:
    common = {"experiment": "e", "scale": "reduced", "point": point, "train_seed": 0}
    made = [
        common
        | {k: v for k, v in vars(line).items() if k != "value"}
        | vars(line.value)
        | {"bound": "yes" if line.bound else "no"}
        for line in lines
    ]
    return pd.DataFrame(made, columns=COLUMNS)


@pytest.fixture(scope="module")
def lines():
    return list(estimate(ASKED, SIGMAS, subject()))


def one(lines, kind, estimator, divergence="score_error"):
    (found,) = [x for x in lines if (x.kind, x.estimator, x.divergence) == (kind, estimator, divergence)]
    return found


@pytest.mark.parametrize("name", [*DIVERGENCES])
@pytest.mark.parametrize("estimator", ["plug_in", "nwj"])
def test_with_the_exact_ratio_every_estimate_meets_the_truth(lines, name, estimator):
    found, truth = one(lines, "estimate", estimator, name).value, one(lines, "truth", "exact", name).value
    assert abs(found.value - truth.value) < 4 * math.hypot(found.std_error, truth.std_error)
    assert truth.value > 0.05  # far from anything that passes by itself


def test_the_integral_with_its_upper_end_is_the_divergence(lines):
    for name in DIVERGENCES:
        found, truth = one(lines, "estimate", "integral", name), one(lines, "truth", "exact", name).value
        assert not found.bound
        assert found.value.value == pytest.approx(
            truth.value, abs=5 * math.hypot(found.value.std_error, truth.std_error)
        )


def test_guidance_to_the_exact_score_gains_the_complete_score_error(lines):
    error = one(lines, "truth", "score_error_main").value
    gain, target = one(lines, "estimate", "gain_guidance"), one(lines, "target", "gain_guidance_target").value
    assert gain.bound
    assert target.value == pytest.approx(error.value, rel=1e-6)
    assert abs(gain.value.value - error.value) < 4 * gain.value.std_error
    assert one(lines, "truth", "score_error_sampler").value.value < 1e-6


def test_a_grader_of_the_wrong_sign_has_a_negative_gain():
    """Its bound is negative; recalibrated, it is switched off and says nothing."""
    lines = list(estimate(QUICK, SIGMAS, subject(-1.0)))
    truth = one(lines, "truth", "exact", "kl").value.value
    assert one(lines, "estimate", "nwj_raw", "kl").value.value < 0 < truth
    assert abs(one(lines, "estimate", "nwj", "kl").value.value) < 0.01 * truth
    assert abs(one(lines, "estimate", "gain_grader").value.value) < 0.01


def test_headline_rows_are_of_the_grader_recalibrated_on_other_points():
    """An overconfident grader (factor 3) is corrected; one fitted on equal sides is switched off."""
    sure = list(estimate(QUICK, SIGMAS, subject(3.0)))
    truth = one(sure, "truth", "exact", "kl").value
    for estimator, allowed in (("nwj", 0.06), ("dv", 0.06), ("plug_in", 0.06), ("integral", 0.12)):
        found = one(
            sure, "estimate", estimator, "kl"
        ).value  # the square of a fitted scale is uncertain twice over
        assert found.value == pytest.approx(truth.value, abs=allowed), estimator
    assert one(sure, "estimate", "nwj_raw", "kl").value.value < 0
    assert one(sure, "estimate", "plug_in_raw", "kl").value.value > 2 * truth.value
    gain = one(
        sure, "estimate", "gain_grader"
    )  # the sampler is exact: any correction by the grader is an error
    assert gain.value.value == pytest.approx(-one(sure, "truth", "score_error_main").value.value, abs=0.12)
    raw, mended = (
        [x.value.value for x in sure if x.estimator == name]
        for name in ("inverse_ratio_mean_raw", "inverse_ratio_mean")
    )
    assert max(abs(v - 1) for v in mended) < 0.2 < max(abs(v - 1) for v in raw)
    given = subject()
    alike = Examples(Data().draw(1000, torch.Generator().manual_seed(7)).double())
    same = replace(given, fitted=(given.fitted[0], alike))
    off = list(estimate(QUICK, SIGMAS, same))
    assert one(off, "estimate", "nwj_raw", "js").value.value > 0.05
    assert abs(one(off, "estimate", "nwj", "js").value.value) < 0.02


def test_coverage_is_counted_for_bounds_and_gains_and_none_is_above_the_truth(lines):
    held = {(x.estimator, x.divergence): x.value for x in lines if x.kind == "coverage"}
    assert {
        ("nwj", "js"),
        ("dv", "kl"),
        ("gain_guidance", "score_error"),
        ("gain_grader", "score_error"),
    } <= set(held)
    assert held["nwj", "js"].estimable
    assert not held["nwj", "chi2"].estimable  # most of its repeats flag themselves
    assert all(value.value > 0.8 for value in held.values() if value.estimable)
    above = [x.value for x in lines if x.kind == "above truth"]
    assert max(value.value for value in above if value.estimable) <= 0.15


def test_coverage_counts_intervals_that_miss():
    like = Line("", "nwj", "js", "p and q", 0.1, 0.1, Value(0, 0), 10, True)
    found = [Value(0.0, 1.0), Value(1.0, 0.1), Value(2.0, 0.1), Value(-1.0, 0.1), Value(0.1, 0.1)]
    held, above = report.coverage(found, Value(0.0, 0.0), like=like, truth=0.0)
    assert held.value.value == 0.4
    assert above.value.value == 0.4  # two of five, where one lies below


def test_bounds_and_plug_ins_say_what_they_are(lines):
    told = {x.estimator: x.bound for x in lines if x.kind == "estimate"}
    assert told["nwj"] and told["nwj_raw"] and told["gain_grader"]
    assert not (told["plug_in"] or told["integral"] or told["product"])
    assert not told["dv"]  # only for many points


def test_a_plug_in_counts_the_points_of_its_own_side():
    data, model = np.zeros((3, 1)), np.ones((5, 1))
    found = report.estimates(Logits(data, data, model, model), 0.1, 0.1)
    sides = {line.divergence: (line.measure, line.n) for line in found if line.estimator == "plug_in"}
    assert (sides["kl"], sides["kl_reverse"], sides["chi2"]) == (("p", 3), ("q", 5), ("q", 5))


def test_noise_is_antithetic_stratified_and_within_its_range():
    made = noisy(Examples(torch.zeros(64, 2).double()), 0.01, 1.0, 2, torch.Generator().manual_seed(0))
    assert made.x.shape == (64, 4, 2)
    assert torch.equal(made.x[:, 0], -made.x[:, 1])
    assert torch.equal(made.sigma[:, 0], made.sigma[:, 1])
    levels = made.sigma[:, ::2].flatten().sort().values
    strata = torch.from_numpy(log_edges(0.01, 1.0, 128))
    assert ((levels >= strata[:-1]) & (levels <= strata[1:])).all()


def test_gradients_of_the_grader_are_those_of_its_logit():
    at = noisy(Examples(P.sample(torch.randn(50, 3))), 0.1, 1.0, 1, torch.Generator().manual_seed(0))
    _, shift = logits_and_shifts(ExactRatio(), at)
    x, sigma = at.x.reshape(-1, 2), at.sigma.reshape(-1)
    slope = shift.reshape(-1, 2) / sigma[:, None] ** 2
    assert torch.allclose(slope, P.score(x, sigma) - Q.score(x, sigma), atol=1e-4)


def test_an_interval_of_guidance_is_on_inside_and_off_outside():
    class Net(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x, sigma, cond=None):
            return torch.full_like(x, self.value)

    term = {
        "method": "reference",
        "ref": "weak",
        "disc": None,
        "weight": 2.0,
        "sigma_lo": 0.1,
        "sigma_hi": 1.0,
        "stages": "both",
    }
    spec = {"main": "main", "terms": [term], "sampler": {"dtype": "float32"}}
    spec["degrade"] = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "weak")}
    main, guided = denoisers(spec, Nets({"main": Net(1.0), "weak": Net(0.0)}, {}))
    x, sigma = torch.zeros(4, 2), torch.tensor([0.05, 0.09, 0.5, 2.0])
    assert main(x, sigma, None)[:, 0].tolist() == [1, 1, 1, 1]
    assert guided(x, sigma, None)[:, 0].tolist() == [1, 1, 2, 1]


def test_calibration_corrects_a_scaled_logit_and_is_evaluated_on_other_points():
    rng = np.random.default_rng(0)
    p, q = rng.normal(0.5, 1, (4000, 1)), rng.normal(-0.5, 1, (4000, 1))
    level = np.full_like(p, 0.5)
    change, told = report.calibrated(Logits(3 * p, level, 3 * q, level), np.array([0.1, 1.0]))  # r = exp(x)
    assert np.allclose(change.apply(3 * p, level), p, atol=0.3)
    assert {x.estimator for x in told} == {"scale", "bias"}


def test_a_recalibrated_grader_is_its_calibration_with_its_gradient():
    edges = np.array([0.1, 0.5, 2.0])
    found = Calibration(
        edges, np.array([0.5, 2.0]), np.array([0.3, -0.1]), (Value(0, 0),) * 2, np.ones(2, bool)
    )
    g = torch.Generator().manual_seed(0)
    at = noisy(Examples(Data().draw(50, g)), 0.1, 2.0, 1, g)
    raw, slope = logits_and_shifts(ExactRatio(), at)
    value, steep = logits_and_shifts(Recalibrated(ExactRatio(), found), at)
    sigma = at.sigma.numpy()
    assert np.allclose(value.numpy(), found.apply(raw.numpy(), sigma), atol=1e-6)
    assert {0.5, 2.0} == set(np.round((steep / slope).numpy().ravel(), 4))
    assert np.allclose((steep / slope)[..., 0].numpy(), np.where(sigma < 0.5, 0.5, 2.0), atol=1e-4)


def test_intervals_are_of_95_percent():
    told = divergence_numbers.interval({"value": 2.0, "std_error": 1.0, "note": ""})
    assert (told["lo"], told["hi"]) == (pytest.approx(2 - 1.959964), pytest.approx(2 + 1.959964))


# ---- print ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(lines):
    """Two samplers and a number that is not estimable."""
    flagged = Line(
        "estimate", "nwj", "chi2", "p and q", 0.1, 0.1, Value(9.0, 1.0, 3.0, "not estimable: few"), 9, True
    )
    other = [x for x in lines if (x.kind, x.estimator, x.divergence) != ("estimate", "nwj", "chi2")]
    null = [x for x in lines if x.kind in ("truth", "estimate", "check", "coverage", "above truth")]
    return pd.concat(
        [rows_of(null, divergence_numbers.NULL), rows_of([*other, flagged]), rows_of(lines, "none/w1.00")]
    )


SPEC = {"experiment": "e", "scale": "reduced"}


def test_the_table_sets_each_estimate_beside_what_it_estimates(rows):
    made = divergence_table.make_table(rows, SPEC).set_index(["point", "divergence", "estimator"])
    gain = made.loc[("cfg/w2.00", "score_error", "gain_guidance")]
    assert gain["estimates"] == "exact difference of score errors"
    assert gain["truth"] != made.loc[("cfg/w2.00", "kl", "exact"), "value"]
    assert made.loc[("cfg/w2.00", "js", "nwj"), "relative_error"] == pytest.approx(0, abs=0.2)
    assert math.isnan(made.loc[("cfg/w2.00", "chi2", "nwj"), "relative_error"])
    assert made.loc[("cfg/w2.00", "js", "nwj"), "repeats"] == 40
    text = divergence_table.to_markdown(made.reset_index(), rows)
    assert "real against real" in text
    assert "not estimable" in text
    assert "no bound" in text
    assert "\\begin{tabular}" in divergence_table.to_latex(made.reset_index(), rows)


def test_the_figures_draw_and_say_range_size_and_bounds(rows):
    info = {**SPEC, "settings": {"points": ["none", "cfg/w2.00"]}}
    drawn = along.rows({"divergences": rows}, info)
    figure = along.make(drawn, info)
    said = " ".join(t.get_text() for t in figure.texts)
    assert "σ 0.1 to 5" in said.replace("\n", " ")
    assert "bound" in said
    assert len(figure.axes) == len(along.EXACT)
    beside = calibration.rows({"divergences": rows}, SPEC)
    figure = calibration.make(beside, SPEC)
    assert "real points" in " ".join(t.get_text() for t in figure.texts).replace("\n", " ")
    js = next(ax for ax in figure.axes if ax.get_label() == "js")
    assert js.get_xlim() == js.get_ylim()  # the diagonal is one


def test_bounds_stand_beside_the_curve_over_the_weight(rows):
    numbers = {"kl": [0.4, 0.5], "kl_reverse": [0.4, 0.5], "js": [0.2, 0.3], "recall": [0.9, 0.8]}
    measured = paper_cases.measured({("none", 1.0): numbers, ("cfg", 2.0): numbers, ("cfg", 3.0): numbers})
    extra = [(name, name, "lower", "nat", 2, "", "divergence") for name in ("kl_reverse", "js")]
    described = pd.concat([paper_cases.INFO, pd.DataFrame(extra, columns=paper_cases.INFO.columns)])
    chosen = paper_cases.selected(("cfg", 3.0))
    tables = {"divergences": rows, "measurements": measured, "selected": chosen, "metrics": described}
    job = {**SPEC, "settings": {"variants": ["cfg"], "metrics": ["recall"]}}
    made = weight.rows(tables, job)
    bounds = made[made["source"] == "bound"]
    assert set(zip(bounds["variant"], bounds["metric"], strict=True)) == {
        (v, m) for v in ("none", "cfg") for m in ("kl", "kl_reverse", "js")
    }
    assert (bounds["w"] < 2.5).all()  # no bound where nothing is graded
    figure = weight.make(made, job)
    assert [ax.get_label() for ax in figure.axes] == ["kl", "kl_reverse", "js", "recall"]


def test_a_number_of_clipped_ratios_is_not_estimable_at_any_standard_error():
    """Half of the points beyond e^600: equal terms, so neither few nor one of them carry the mean."""
    far = np.where(np.arange(3000) % 2, 700.0, 0.1)[:, None]
    given = Logits(far, np.full_like(far, 0.1), far, np.full_like(far, 0.1))
    found = {(x.estimator, x.divergence): x.value for x in report.estimates(given, 0.1, 0.1)}
    for name in (("plug_in", "chi2"), ("nwj", "kl"), ("nwj", "chi2")):
        assert found[name].ess > 1000 and "ratios are cut" in found[name].note
    assert found["nwj", "js"].estimable and found["plug_in", "kl"].estimable
    edges = np.array([0.05, 0.2])
    curves = {x.divergence: x.value for x in report.bound_curves(given, edges)}
    assert not curves["kl"].estimable and curves["js"].estimable
    ratio = next(x.value for x in report.checks(given, edges) if x.estimator == "ratio_mean")
    assert divergence_numbers.interval(vars(ratio))["status"] == "not estimable"
