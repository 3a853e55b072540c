"""Checks of maps: each can be passed and failed, and means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medcnn.statistics.map_checks import (
    agreement_check,
    near,
    outside_check,
    outside_of,
    pointing_check,
    rank_correlation,
    share_within,
    tail,
    weights_check,
)

RNG = np.random.default_rng(0)


def test_rank_correlation_is_spearmans_and_0_of_an_even_map() -> None:
    left, right = RNG.normal(size=(2, 7, 7))
    right = np.round(right)  # with ties
    expected = stats.spearmanr(left.ravel(), right.ravel()).statistic
    assert rank_correlation(left, right) == pytest.approx(expected)
    assert rank_correlation(left, np.ones((7, 7))) == 0


def test_maps_that_stay_when_everything_is_random_fail() -> None:
    good = weights_check({"head": [0.9, 0.7], "everything": [0.1, -0.1]})
    assert good.passed
    assert good.detail == {"head": pytest.approx(0.8), "everything": pytest.approx(0.0)}
    assert not weights_check({"head": [0.1], "everything": [0.9]}).passed
    assert not weights_check({"everything": [-0.9]}).passed, "the same map, upside down"


def test_two_methods_agree_or_do_not() -> None:
    assert agreement_check([0.9, 0.2]).passed
    assert not agreement_check([0.1, -0.2]).passed


def test_the_pointing_game_is_an_exact_test() -> None:
    expected = stats.binomtest(7, 9, 0.3, alternative="greater").pvalue
    assert tail(7, [0.3] * 9) == pytest.approx(expected)
    drawn = RNG.random((200_000, 4)) < [0.1, 0.5, 0.9, 0.3]
    assert tail(3, [0.1, 0.5, 0.9, 0.3]) == pytest.approx((drawn.sum(1) >= 3).mean(), abs=0.005)
    assert pointing_check([True] * 5, [0.2] * 5).passed
    assert not pointing_check([True] * 5, [0.9] * 5).passed, "the lesion is nearly everywhere"
    assert pointing_check([], []) is None


def test_an_even_map_does_not_avoid_what_is_outside() -> None:
    image = np.full((3, 40, 40), 200, np.uint8)
    image[:, :10] = 2
    image[:, 20:24, 20:24] = 0  # dark, but within
    where = outside_of(image)
    assert where.mean() == 0.25
    assert not where[20:24, 20:24].any()
    even = np.ones((40, 40))
    assert share_within(even, where) == 0.25
    assert not outside_check([(share_within(even, where), 0.25)]).passed
    assert outside_check([(0.1, 0.25), (0.3, 0.25)]).passed
    assert outside_check([(0.0, 0.001)]) is None, "no outside to speak of"
    assert share_within(-even, where) == 0


def test_near_is_a_square() -> None:
    where = np.zeros((9, 9), bool)
    where[4, 4] = True
    assert near(where, 2).sum() == 25
    assert near(where, 0).sum() == 1
