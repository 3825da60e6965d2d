"""Times by rule and by test file are sums of what jobs and pytest recorded."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import where_time_goes

JOBS = {
    "results/toy2d/samples/none/w1.00/seed0.safetensors": {"seconds": 3.0, "earlier_seconds": 0.0, "cpu_seconds": 2.0},
    "results/toy2d/samples/cfg/w2.00/seed0.safetensors": {"seconds": 5.0, "earlier_seconds": 4.0, "cpu_seconds": 6.0},
    "results/toy2d/checkpoints/s/seed0.safetensors": {"seconds": 20.0, "earlier_seconds": 0.0},
}  # fmt: skip
REPORT = """<testsuites><testsuite>
<testcase classname="tests.workflow.test_chain" name="a" time="1.5"/>
<testcase classname="tests.workflow.test_chain" name="b" time="2.5"/>
<testcase classname="tests.unit.test_heun.TestOrder" name="c" time="7"/>
</testsuite></testsuites>"""


@pytest.fixture
def folder(tmp_path):
    for output, note in JOBS.items():
        path = tmp_path / f"logs/_jobs/{output}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(note | {"finished": True}))
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state/tests.xml").write_text(REPORT)
    return tmp_path


def test_jobs_and_tests_are_added_up_the_longest_first(folder, capsys):
    where_time_goes.main(["--folder", str(folder)])
    assert capsys.readouterr().out.split("\n") == [
        "| rule | number | CPU s | wall s |",
        "|---|---:|---:|---:|",
        "| train | 1 |  | 20 |",  # a note of an older version has no CPU seconds
        "| sample | 2 | 8 | 12 |",
        "| all | 3 |  | 32 |",
        "",
        "| test file | number | CPU s | wall s |",
        "|---|---:|---:|---:|",
        "| test_heun | 1 |  | 7 |",
        "| test_chain | 2 |  | 4 |",
        "| all | 3 |  | 11 |",
        "",
    ]


def test_without_records_it_names_the_command_that_makes_them(tmp_path, capsys):
    with pytest.raises(SystemExit):
        where_time_goes.main(["--folder", str(tmp_path)])
    assert "run make paper or make test first" in capsys.readouterr().err
