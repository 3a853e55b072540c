from __future__ import annotations

import pytest

from medcnn.system.errors import UsageError
from medcnn.system.registry import Table, nearest


def sample(x: int, *, gamma: float = 2.0, alpha: float) -> float:
    return x * gamma + alpha


def plain(x: int) -> float:
    return float(x)


TABLE = Table(
    "loss",
    {"focal": sample, "ce": plain},
    function=lambda function: function,
    limits={"gamma": (0.0, 20.0)},
    also=lambda: ("auto",),
)


def test_the_nearest_name_is_offered_and_nothing_far_off() -> None:
    assert nearest("focl", ["focal", "cross_entropy"]) == "; did you mean 'focal'?"
    assert nearest("lable", ["table", "label"]) == "; did you mean 'label'?"
    assert nearest("zzz", ["focal"]) == "."


def test_an_unknown_entry_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageError, match=r"unknown loss 'focl'; .* 'focal'\? Known: auto, ce"):
        TABLE.choose("focl")


def test_options_are_bound_by_name() -> None:
    assert TABLE.bind("focal", {"alpha": 1.0, "gamma": 3.0})(2) == 7


def test_a_choice_is_completed_with_its_defaults() -> None:
    assert TABLE.completed({"name": "focal", "alpha": 1}) == {
        "name": "focal",
        "gamma": 2.0,
        "alpha": 1,
    }
    assert TABLE.completed("ce") == {"name": "ce"}


def test_unknown_missing_and_wrong_options_are_reported_together() -> None:
    with pytest.raises(UsageError) as raised:
        TABLE.bind("focal", {"gama": 3.0, "gamma": 21})
    assert "has no option 'gama'; did you mean 'gamma'?" in str(raised.value)
    assert "gamma=21 should be from 0 to 20." in str(raised.value)
    assert "needs the option 'alpha'" in str(raised.value)


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match=r"loss focal: gamma=abc should be a number\."):
        TABLE.bind("focal", {"alpha": 1, "gamma": "abc"})
    with pytest.raises(UsageError, match="alpha=True should be a number"):
        TABLE.bind("focal", {"alpha": True})
