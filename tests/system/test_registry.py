from __future__ import annotations

import pytest

from medcnn.system.errors import UsageError
from medcnn.system.registry import bind, choose, nearest


def sample(x: int, *, gamma: float = 2.0, alpha: float) -> float:
    return x * gamma + alpha


def test_the_nearest_name_is_offered_and_nothing_far_off() -> None:
    assert nearest("focl", ["focal", "cross_entropy"]) == "; did you mean 'focal'?"
    assert nearest("lable", ["table", "label"]) == "; did you mean 'label'?"
    assert nearest("zzz", ["focal"]) == "."


def test_an_unknown_entry_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageError, match=r"loss 'focl' .* 'focal'\? Known: ce, focal\."):
        choose({"focal": 1, "ce": 2}, "focl", "loss")


def test_options_are_bound_by_name() -> None:
    assert bind(sample, {"alpha": 1.0, "gamma": 3.0}, "loss")(2) == 7


def test_unknown_and_missing_options_are_told_together() -> None:
    with pytest.raises(UsageError) as raised:
        bind(sample, {"gama": 3.0}, "loss focal")
    assert "has no option 'gama'; did you mean 'gamma'?" in str(raised.value)
    assert "needs the option 'alpha'" in str(raised.value)


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match=r"loss: gamma=abc should be a number\."):
        bind(sample, {"alpha": 1, "gamma": "abc"}, "loss")
    with pytest.raises(UsageError, match="alpha=True should be a number"):
        bind(sample, {"alpha": True}, "loss")
