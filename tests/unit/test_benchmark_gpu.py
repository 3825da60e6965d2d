"""The GPU benchmark runs on a CPU at toy sizes, and its sides agree: what it will compare is the same arithmetic."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu_throughput


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark") / "gpu"
    options = ["--device", "cpu", "--tiny", "--repeats", "1", "--warmup", "0", "--peak", "0.1"]
    rows = gpu_throughput.main([*options, "--out", str(out)])
    return rows, json.loads(out.with_suffix(".json").read_text()), out.with_suffix(".md").read_text()


def test_every_case_has_both_sides_and_they_agree(found):
    rows, _, _ = found
    assert len({row["case"] for row in rows}) == len(gpu_throughput.CASES) == 4
    for case in {row["case"] for row in rows}:
        sides = [row for row in rows if row["case"] == case]
        assert [row["side"].split(",")[0] for row in sides] == ["plain", "ours"]
        assert sides[1]["difference"] < 1e-4 and sides[0]["over_float32"] == 1
        assert all(row["images_per_s"] > 0 and row["gflop_per_image"] > 0 for row in sides)


def test_rates_follow_from_times(found):
    for row in found[0]:
        assert row["images_per_s"] == pytest.approx(1000 * row["images"] / row["ms"])
        assert row["mfu"] == pytest.approx(row["tflop_per_s"] / 0.1)
        assert row["tflop_per_s"] == pytest.approx(row["images_per_s"] * row["gflop_per_image"] / 1e3)


def test_the_report_is_written_and_marks_toy_sizes(found):
    rows, stored, text = found
    assert stored["rows"] == rows and stored["tiny"] and stored["device"] == "CPU"
    assert text.count("\n| ") == 1 + len(rows) and "Toy sizes: these numbers show that the code runs" in text
    assert gpu_throughput.verdicts(rows, False) and "goal 2.0" in gpu_throughput.verdicts(rows, False)[0]


def test_peaks_are_known_by_the_devices_name():
    assert gpu_throughput.peak_of("NVIDIA H100 80GB HBM3", None)["bfloat16"] == 989
    assert gpu_throughput.peak_of("NVIDIA A100-SXM4-80GB", None)["float32"] == 19.5
    assert gpu_throughput.peak_of("CPU", None) is None


def test_without_a_gpu_the_benchmark_reports_that(capsys):
    if gpu_throughput.torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        gpu_throughput.main([])
    assert "no CUDA device here; --device cpu --tiny tries the code out" in capsys.readouterr().err
