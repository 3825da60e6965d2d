"""Messages about unknown names: few names are listed, of many the closest three and how many there are."""

from pathlib import Path

import pytest

from guidelab.errors import UserError
from guidelab.nearest import listed, one_of
from guidelab.plan.plan import Plan
from guidelab.released import load_rows
from guidelab.spec.load import load_spec
from guidelab.spec.mistakes import unknown

ROOT = Path(__file__).parents[2]


def test_few_names_are_listed_and_of_many_the_closest_three():
    assert listed("c", ["a", "b"]) == "a, b" and listed("c", []) == "none is known"
    many = [f"model{i}" for i in range(30)] + ["autog", "autog_fd", "auto"]
    assert listed("autg", many) == "33, the closest autog, auto, autog_fd"
    assert one_of("autg", many).endswith("; did you mean 'autog'?")
    assert "did you mean" not in one_of("zzz", many)


def test_no_message_about_a_name_is_a_screenful():
    plan = Plan(load_spec(ROOT / "params.yaml"))
    messages = [
        str(
            unknown(
                "models.m.checkpoint",
                "edm2-img512-s",
                "a row",
                load_rows(ROOT / "workflow/resources/checkpoints.csv"),
            )
        )
    ]
    for ask in (
        lambda: plan.experiment("imagenet"),
        lambda: plan.experiment("imagenet512").runs_at("autogg/w2.10"),
        lambda: plan.job("extract", "imagenet512", "inception", "none/w1.00/seed1"),
    ):
        with pytest.raises(UserError) as error:
            ask()
        messages.append(str(error.value))
    for message in messages:
        assert len(message) < 300 and "the closest" in message, message
