from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from medcnn.evaluation.thresholds import choose_thresholds, youden_threshold
from medcnn.labels import Kind


def threshold(target: list[float], probability: list[float]) -> float:
    return youden_threshold(np.array(target, dtype=np.float32), np.array(probability))


def test_the_cut_lies_in_the_middle_between_two_neighbouring_probabilities() -> None:
    assert threshold([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.8]) == pytest.approx(0.5)


def test_of_equally_good_cuts_the_one_in_the_widest_gap_is_taken() -> None:
    # cutting after 0.1 or after 0.5 gives the same J
    assert threshold([0, 1, 0, 1], [0.1, 0.2, 0.5, 0.9]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("target", "probability"),
    [
        ([0, 0], [0.1, 0.9]),
        ([1, 1], [0.1, 0.9]),
        ([np.nan, np.nan], [0.1, 0.9]),
        ([0, 1], [0.2, 0.2]),
        ([1, 0], [0.1, 0.9]),
    ],
)
def test_where_no_cut_is_better_than_chance_it_is_one_half(
    target: list[float], probability: list[float]
) -> None:
    assert threshold(target, probability) == 0.5


def test_between_two_adjacent_floats_the_lower_stays_negative() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    cut = threshold([0, 1], [low, high])
    assert low < cut <= high


def test_no_threshold_has_a_larger_sensitivity_plus_specificity(simulate) -> None:
    predictions = simulate(Kind.MULTILABEL, 300, missing=0.2)
    thresholds = choose_thresholds(predictions)
    assert thresholds is not None
    decisions = replace(predictions, thresholds=thresholds).decisions
    for k in range(3):
        known = ~np.isnan(predictions.targets[:, k])
        target = predictions.targets[known, k] == 1
        false, true, _ = roc_curve(target, predictions.probabilities[known, k])
        j = decisions[known, k][target].mean() - decisions[known, k][~target].mean()
        assert j == pytest.approx((true - false).max())


def test_exclusive_classes_need_no_threshold(simulate) -> None:
    assert choose_thresholds(simulate(Kind.MULTICLASS)) is None
    assert choose_thresholds(simulate(Kind.ORDINAL)) is None
