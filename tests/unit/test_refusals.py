"""docs/refusals.md names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/refusals.md").read_text(encoding="utf-8")
HOMES = {"A": "", "C": "test_spec_faults.py", "E": "test_metrics_flags.py"}  # of names without a file


def named() -> list[tuple[str, str]]:
    """Every test on the page: its file, below tests/unit unless a folder is named, and its name, perhaps with `*`."""
    found = []
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        home = HOMES.get(section[0], "")
        for row in re.findall(r"^\|.*\|([^|]*)\|$", section, re.MULTILINE):
            for word in re.findall(r"`([\w/.:*]+)`", row):
                file, _, test = (
                    word.rpartition("::")
                    if "::" in word
                    else (word, "", "")
                    if ".py" in word
                    else (home, "", word)
                )
                found += [(file or home, test)] if "..." not in word else []
    return found


@pytest.mark.parametrize(("file", "test"), dict.fromkeys(named()))
def test_the_page_never_names_a_test_that_does_not_exist(file, test):
    path = ROOT / "tests" / (file if "/" in file else f"unit/{file}")
    assert path.is_file(), file
    assert not test or re.search(rf"^def {test.replace('*', '.*')}\(", path.read_text(), re.MULTILINE), test


def test_the_page_is_read():
    assert len(named()) > 50
