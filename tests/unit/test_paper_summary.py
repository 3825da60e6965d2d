import math

import numpy as np
import pandas as pd
import pytest
from paper_cases import measured, row, selected, toy

from guidelab.errors import UserError
from guidelab.paper import checks, intervals, reported, summary


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_interval_over_trainings_by_hand():
    # means over blocks 1, 2, 6: mean 3, sd sqrt(7), t(2, 97.5 %) = 4.302653, half = 4.302653 * sqrt(7 / 3)
    rows = frame(
        *[
            row("a", 2.0, "m", v + s, train_seed=k, seed_block=b)
            for k, v in enumerate((1, 2, 6))
            for b, s in (("r1", 0.5), ("r2", -0.5))
        ]
    )
    e = summary.estimate(rows)
    half = 4.302652730 * math.sqrt(7 / 3)
    assert (e.value, e.over, e.n_trainings, e.n_blocks, e.status) == (3.0, "trainings", 3, 2, "ok")
    assert (e.lo, e.hi) == pytest.approx((3 - half, 3 + half), rel=1e-8)


def test_interval_over_samples_adds_block_errors_in_squares():
    rows = frame(
        row("a", 2.0, "m", 0.2, std_error=0.03, seed_block="r1"),
        row("a", 2.0, "m", 0.4, std_error=0.04, seed_block="r2"),
    )
    e = summary.estimate(rows)
    half = 1.959963985 * 0.05 / 2
    assert (e.value, e.over) == (pytest.approx(0.3), "samples")
    assert (e.lo, e.hi) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-8)


def test_interval_over_blocks_when_no_standard_error():
    e = summary.estimate(
        frame(row("a", 2.0, "m", 0.2, seed_block="r1"), row("a", 2.0, "m", 0.4, seed_block="r2"))
    )
    assert e.over == "seed blocks"
    assert e.hi - e.value == pytest.approx(12.70620474 * 0.1, rel=1e-8)


def test_one_number_has_no_interval():
    e = summary.estimate(frame(row("a", 2.0, "m", 0.2)))
    assert (e.value, e.over, e.status) == (0.2, "", "ok")
    assert math.isnan(e.lo) and math.isnan(e.hi)


@pytest.mark.parametrize(
    ("value", "ends"), [(0.0, (0.0, 1 - 0.025 ** (1 / 200))), (1.0, (0.025 ** (1 / 200), 1.0))]
)
@pytest.mark.parametrize("error", [0.0, 0.005])  # `metrics.value.share` gives an error above 0 here too
@pytest.mark.parametrize("trainings", [1, 3])
def test_share_of_none_or_all_has_the_exact_binomial_interval(value, ends, error, trainings):
    rows = frame(
        *[
            row("a", 2.0, "m", value, std_error=error, n_generated=100, seed_block=b, train_seed=0)
            for b in ("r1", "r2")
        ]
    )
    e = summary.estimate(rows, share=True)
    assert (e.lo, e.hi) == pytest.approx(ends)
    assert (
        summary.estimate(rows.assign(std_error=0.0)).lo == value
    )  # not a share: errors are taken at their word


def test_equal_trainings_are_never_an_interval_without_width():
    rows = frame(
        *[row("a", 2.0, "m", 0.0, std_error=1e-4, n_generated=4096, train_seed=seed) for seed in range(3)]
    )
    e = summary.estimate(rows, share=True)
    assert e.over == "samples" and (e.lo, e.hi) == pytest.approx((0, 1 - 0.025 ** (1 / (3 * 4096))))
    after = summary.sound(rows.assign(value=1 / 4096, std_error=1 / 4096))
    gap = summary.paired(summary.sound(rows), after)
    assert gap.over == summary.AS_UNPAIRED and gap.lo < gap.value < gap.hi and gap.p > 0.01
    assert gap.hi - gap.value == pytest.approx(1.959964 * math.hypot(1e-4, 1 / 4096) / math.sqrt(3), rel=1e-5)


def test_no_difference_is_of_a_number_that_is_not_estimable():
    good = frame(*[row("a", 1.0, "m", 1.0, std_error=0.1, seed_block=b) for b in ("r1", "r2")])
    rows = frame(
        row("b", 2.0, "m", 9.0, std_error=0.1, seed_block="r1"),
        row("b", 2.0, "m", 9.0, std_error=0.1, seed_block="r2", note="not estimable: heavy tail"),
    )
    assert summary.estimate(rows).status == "not estimable"
    found = summary.paired(summary.sound(good), summary.sound(rows))
    assert math.isnan(found.value) and found.verdict("lower") == "not run"
    infinite = good.assign(value=[math.inf, 1.0])
    assert math.isnan(summary.paired(summary.sound(good), summary.sound(infinite)).value)


@pytest.mark.parametrize(
    ("note", "value", "status"),
    [
        ("not estimable: 3 effective of 4096 points", 1.0, "not estimable"),
        ("not estimable: the denoiser is random, its density is not defined", float("nan"), "not defined"),
        ("", float("inf"), "not finite"),
        ("exact data: 0.3 at this n", 1.0, "ok"),
    ],
)
def test_flags_are_printed_instead_of_the_number(note, value, status):
    e = summary.estimate(frame(row("a", 2.0, "m", value, note=note), row("a", 2.0, "m", 1.0, train_seed=1)))
    assert e.status == status
    assert math.isfinite(e.value) == (status == "ok")


def test_nothing_measured_is_not_run():
    assert summary.estimate(frame(row("a", 2.0, "m", 1.0)).iloc[:0]).status == "not run"


def test_the_selecting_block_is_never_averaged():
    rows = reported.rows(toy(), selected(("autog", 2.0)))
    assert set(rows["seed_block"]) == {"report1", "report2"}
    assert summary.estimate(reported.at_point(rows, "none", 1.0, "recall")).value == pytest.approx(0.97)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_generated": 2048}, "n_generated differs (4096 in none, autog; 2048 in autog)"),
        ({"features": "inception"}, "features differs"),
        ({"reference_split": "holdout"}, "reference_split differs"),
        ({"label_policy": "balanced"}, "label_policy differs"),
    ],
)
def test_mixed_columns_are_refused(change, said):
    table = toy()
    last = table.index[(table["metric"] == "kl") & (table["w"] == 3.0)]
    table.loc[last, list(change)] = list(change.values())
    with pytest.raises(UserError, match="column kl") as error:
        reported.rows(table, selected(("autog", 2.0)))
    assert said in str(error.value)


def test_rows_without_a_number_mix_nothing():
    undefined = {"n_generated": 0, "note": "not estimable: x"}
    extra = [
        row("dropout", 2.0, "kl", float("nan"), seed_block=b, **undefined) for b in ("report1", "report2")
    ]
    table = pd.concat([toy(), frame(*extra)])
    assert "dropout" in set(reported.rows(table, selected(("autog", 2.0)))["variant"])


def test_repeated_rows_are_refused():
    table = toy()
    with pytest.raises(UserError, match="2 rows share a key"):
        reported.rows(pd.concat([table, table.iloc[[4]]]), selected(("autog", 2.0)))


def test_a_missing_block_of_one_training_is_refused():
    table = toy()
    lost = (
        (table["seed_block"] == "report2")
        & (table["train_seed"] == 1)
        & (table["w"] == 3.0)
        & (table["metric"] == "kl")
    )
    with pytest.raises(UserError, match=r"autog/w3.00, training 1, has no rows on block report2"):
        reported.rows(table[~lost], selected(("autog", 2.0)))


def test_two_experiments_or_scales_are_refused():
    table = toy()
    table.loc[0, "scale"] = "full"
    with pytest.raises(UserError, match="one table"):
        reported.rows(table, selected(("autog", 2.0)))


def test_a_weight_is_not_reported_on_the_block_that_chose_it():
    table = toy()
    only = table[(table["variant"] != "autog") | (table["seed_block"] == "select")]
    with pytest.raises(UserError, match="selected on block select and measured on no other"):
        reported.rows(only, selected(("autog", 2.0)))
    with pytest.raises(UserError, match="the block on which weights were selected"):
        reported.rows(table, selected(("autog", 2.0)), ["select", "report1"])


def test_missing_columns_are_named():
    with pytest.raises(UserError, match="no column std_error"):
        reported.rows(toy().drop(columns="std_error"), selected())
    with pytest.raises(UserError, match="did you mean 'recall'"):
        checks.known_metrics(["recal"], pd.DataFrame({"metric": ["recall", "kl"]}))


def test_flagged_numbers_enter_no_difference():
    table = measured({("a", 2.0): {"kl": [1.0, 2.0]}, ("b", 2.0): {"kl": [3.0, 5.0]}})
    flagged = (table["train_seed"] == 1) & (table["variant"] == "a")
    table.loc[flagged & (table["seed_block"] == "report1"), "note"] = "not estimable: x"
    rows = table[table["seed_block"] != "select"]
    found = summary.sound(reported.at_point(rows, "a", 2.0, "kl"))
    assert sorted(found) == [(0, "report1"), (0, "report2"), (1, "report2")]
    table.loc[flagged, "note"] = "not estimable: x"
    rows = table[table["seed_block"] != "select"]
    d = summary.paired(*(summary.sound(reported.at_point(rows, v, 2.0, "kl")) for v in ("a", "b")))
    assert math.isnan(d.value) and d.n_trainings == 0  # half of the numbers: there is no estimate either


def test_a_flag_on_few_of_the_numbers_is_a_caution_and_on_half_of_them_a_verdict():
    def estimate(flagged: int):
        rows = [
            row(
                "a",
                2.0,
                "m",
                float(k),
                train_seed=k,
                seed_block="r1",
                note="not estimable: tail" if k < flagged else "",
            )
            for k in range(4)
        ]
        return summary.estimate(frame(*rows))

    assert (estimate(1).status, estimate(1).value) == ("ok", 1.5)
    assert estimate(1).note == "in 1 of 4 numbers: tail"
    assert estimate(2).status == "not estimable" and math.isnan(estimate(2).value)


def test_an_interval_over_five_trainings_covers_95_percent():
    rng = np.random.default_rng(1)
    found = [intervals.t_interval(rng.normal(7, 2, 5)) for _ in range(1000)]
    assert 0.93 <= np.mean([low < 7 < high for low, high in found]) <= 0.97
