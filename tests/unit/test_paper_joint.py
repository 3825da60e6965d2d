"""Differences on common seeds: joint errors of points, their use in a table, and Holm's correction."""

import numpy as np
import pandas as pd
import pytest
from image_cases import INFO, SPEC, chosen, images

from guidelab.paper import joint, summary, table

ROWS = images()


def test_fewer_dimensions_keep_every_length_and_distance():
    rng = np.random.default_rng(0)
    parts = {f"p{i}": rng.standard_normal(500) for i in range(4)}
    arrays, points = joint.reduced({"fid/seed0/a": parts | {"other": np.ones(3)}})
    kept = dict(zip(points["fid/seed0/a"], arrays["fid/seed0/a"], strict=True))
    assert arrays["fid/seed0/a"].shape == (4, 4) and "other" not in kept
    for a in parts:
        for b in parts:
            assert np.linalg.norm(kept[a] - kept[b]) == pytest.approx(np.linalg.norm(parts[a] - parts[b]))
        assert np.linalg.norm(kept[a]) == pytest.approx(np.linalg.norm(parts[a]))


def test_the_error_of_a_difference_is_over_what_both_do_not_share():
    shared = np.array([3.0, 4.0])
    a = {(0, "b1"): joint.Number(10.0, 5.0, shared), (0, "b2"): joint.Number(11.0, 5.0, shared)}
    b = {key: joint.Number(n.value - 1.0, 5.0, shared + np.array([0.0, 0.3])) for key, n in a.items()}
    found = summary.paired(a, b)
    half = 1.959964 * np.hypot(0.3, 0.3) / 2
    assert (found.over, found.value) == (summary.PAIRED, -1.0)
    assert found.hi - found.value == pytest.approx(half) and found.verdict("lower") == summary.BETTER
    bare = {key: n._replace(parts=None) for key, n in b.items()}
    apart = summary.paired(a, bare)
    assert apart.over == summary.AS_UNPAIRED and apart.hi - apart.value == pytest.approx(1.959964 * 5.0)
    assert apart.p > 0.05 > 1e-4 > found.p


def test_rows_with_parts_make_paired_differences_in_the_table():
    parts = {}
    for row in ROWS[ROWS["metric"] == "fid@lite0"].itertuples():
        name = f"{row.metric}/seed{row.train_seed}/{row.seed_block}"
        parts.setdefault(name, {})[f"{row.variant}/w{row.w:.2f}"] = np.array([row.std_error, 0.0])
    rows = joint.attached(ROWS, *joint.reduced(parts))
    made = table.make_table(rows, chosen(ROWS), INFO, None, SPEC | {"variants": ["none", "cfg"]})
    mine = made[(made["variant"] == "cfg") & made["p"].notna()].set_index("metric")
    assert set(mine.loc[["fid@lite0"], "difference_over"]) == {summary.PAIRED}
    assert set(mine.loc[["recall@lite0"], "difference_over"]) == {summary.AS_UNPAIRED}


def test_an_overflow_of_one_point_never_takes_the_errors_of_others():
    parts = {"a": np.ones(5), "b": np.full(5, np.inf), "c": np.zeros(5)}
    arrays, points = joint.reduced({"fid/seed0/r": parts, "kid/seed0/r": {"a": np.full(3, np.nan)}})
    assert points == {"fid/seed0/r": ["a", "c"]} and np.isfinite(arrays["fid/seed0/r"]).all()
    wild = {(0, "r"): joint.Number(1.0, 0.5, np.array([np.nan]))}
    assert (
        summary.paired(wild, {(0, "r"): joint.Number(0.0, 0.5, np.array([0.0]))}).over == summary.AS_UNPAIRED
    )


def test_a_reference_that_all_blocks_share_is_never_averaged_away():
    """Two blocks against one whole reference: its part of the error is the same in both."""
    recall = ROWS[ROWS["metric"] == "recall@lite0"]
    whole = int(ROWS.loc[ROWS["metric"] == "fid@lite0", "n_reference"].max())
    alike = pd.concat([ROWS[ROWS["metric"] != "recall@lite0"], recall.assign(n_reference=whole)])
    subset = pd.concat([ROWS[ROWS["metric"] != "recall@lite0"], recall.assign(n_reference=whole // 2)])
    assert set(alike.loc[joint.common(alike), "metric"].str.split("@").str[0]) <= {
        "recall",
        "kid",
        "precision",
    }
    found = []
    for rows in (alike, subset):
        made = table.make_table(rows, chosen(rows), INFO, None, SPEC | {"variants": ["none", "cfg"]})
        one = made[(made["metric"] == "recall@lite0") & (made["variant"] == "cfg")].iloc[0]
        found.append((one["hi"] - one["value"], one["n_blocks"], one["n_trainings"]))
    (common, blocks, trainings), (apart, *_) = found
    assert trainings == 1 and common == pytest.approx(apart * np.sqrt(blocks))


def test_holm_takes_back_what_many_comparisons_explain():
    p = [0.001, 0.02, 0.04, 0.5, float("nan")]
    words = [summary.BETTER, summary.WORSE, summary.BETTER, summary.UNCLEAR, ""]
    frame = pd.DataFrame({"p": p, "verdict": words, "space": "lite0"})
    kept = table.corrected(frame)["verdict_holm"].tolist()
    assert kept == [summary.BETTER, summary.UNCLEAR, summary.UNCLEAR, summary.UNCLEAR, ""]
    alone = frame.assign(space=["a", "b", "c", "d", "e"])  # a family of one: nothing is corrected
    assert table.corrected(alone)["verdict_holm"].tolist() == words
