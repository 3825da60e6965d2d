"""`guidelab released` and `bundle`: what they say of experiments that need nothing from others."""

from pathlib import Path

import pytest

from guidelab.cli.released import bundle, needed, released
from guidelab.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagenet256_smoke", r"uses synthetic files.*guidelab released imagenet256$"),
        ("cifar10_smoke_trained", r"uses synthetic files.*guidelab released cifar10$"),
        ("toy2d", "toy2d: uses no pretrained files"),
    ],
)
def test_nothing_is_listed_or_bundled_for_what_needs_nothing(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        released([name], params=PARAMS)
    with pytest.raises(UserError, match=message):
        bundle([name], tmp_path / "b.tar", params=PARAMS)
    assert not (tmp_path / "b.tar").exists()


def test_experiments_and_names_may_be_mixed():
    found = needed(["cifar10", "adm-256"], PARAMS)
    assert "adm-256" in found and "edm-cifar10-32x32-cond-vp" in found
