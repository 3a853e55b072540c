from __future__ import annotations

import numpy as np
import pytest

from medcnn.errors import UsageError
from medcnn.evaluation.intervals import (
    absolute_sum_interval,
    percentile_interval,
    resampling_weights,
    unanimous_interval,
)
from medcnn.evaluation.scores import evaluate
from medcnn.labels import Kind, LabelSpace
from medcnn.predictions import Predictions


def test_all_images_of_a_patient_are_drawn_together_and_as_many_patients_as_there_are() -> None:
    groups = ["b", "a", "b", "c", "a", "b"]
    weights = resampling_weights(groups, resamples=50, seed=0).astype(int)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_the_same_seed_draws_the_same_patients_whatever_they_are_called() -> None:
    groups = [f"p{i}" for i in range(30)]
    renamed = [f"patient-{hash(g) % 997:03d}-{g}" for g in groups]
    first = resampling_weights(groups, 20, seed=7)
    np.testing.assert_array_equal(first, resampling_weights(groups, 20, seed=7))
    np.testing.assert_array_equal(first, resampling_weights(renamed, 20, seed=7))
    assert (first != resampling_weights(groups, 20, seed=8)).any()


def test_an_interval_is_the_middle_95_percent_of_defined_values() -> None:
    drawn = np.r_[np.linspace(0, 1, 1001), np.full(50, np.nan)]
    interval = percentile_interval(drawn, num_groups=10)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_more_than_5_percent_undefined_or_one_group_or_no_spread_gives_a_reason() -> None:
    drawn = np.r_[np.linspace(0, 1, 94), np.full(6, np.nan)]
    assert "undefined in 6%" in percentile_interval(drawn, num_groups=10).reason
    assert "fewer than 2" in percentile_interval(drawn, num_groups=1).reason
    assert "every resample" in percentile_interval(np.ones(99), num_groups=10).reason
    assert np.isnan(percentile_interval(np.ones(99), num_groups=10).low)


def test_ten_of_ten_found_is_not_certainty() -> None:
    interval = unanimous_interval(1.0, num_groups=10)
    assert (interval.low, interval.high) == pytest.approx((0.6915, 1.0), abs=1e-4)
    interval = unanimous_interval(0.0, num_groups=10)
    assert (interval.low, interval.high) == pytest.approx((0.0, 0.3085), abs=1e-4)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(UsageError, match="1 or more, found 0"):
        resampling_weights(["a", "b"], resamples=0, seed=0)


def test_the_calibration_interval_reaches_zero_exactly_where_the_model_is_calibrated() -> None:
    for overconfidence, calibrated in ((1.0, True), (3.0, False)):
        draw = np.random.default_rng(0)
        logits = draw.normal(size=(600, 1))
        target = draw.random((600, 1)) < 1 / (1 + np.exp(-logits))
        predictions = Predictions(
            labels=LabelSpace(kind=Kind.BINARY, names=("no", "yes")),
            split="test",
            image_ids=tuple(map(str, range(600))),
            groups=tuple(str(i // 2) for i in range(600)),
            targets=target.astype(np.float32),
            logits=(overconfidence * logits).astype(np.float32),
        )
        found = evaluate(predictions, resamples=300).find("ece")
        assert found.value > 0.02  # noise alone makes the plain value larger than 0
        assert (found.low == 0) is calibrated
        assert found.low <= found.value <= found.high


def test_terms_without_noise_have_no_calibration_interval() -> None:
    terms = np.array([0.1, -0.2])
    found = absolute_sum_interval(terms, np.tile(terms, (50, 1)), 30)
    assert found.reason == "every resample gives 0.3"
