from __future__ import annotations

import numpy as np
import pytest
from MLstatkit import Delong_test
from scipy.stats import binomtest, norm

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.estimates import Interval
from medcnn.statistics.intervals import (
    Spread,
    freedom_of,
    interval_around,
    mean_interval,
    percentile_interval,
    resampling_weights,
    share_and_noise,
    share_interval,
    spread_of_draws,
    spread_of_parts,
    unanimous_interval,
)
from medcnn.statistics.inverted import inverted_interval
from medcnn.statistics.metrics.table import Rows, auroc_influence
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.system.errors import UsageError


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
    assert "in every resample" in percentile_interval(np.ones(99), num_groups=10).reason
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
    found = inverted_interval(terms, np.tile(terms, (50, 1)), 30)
    assert found.reason == "the value is the same in every resample"


def test_between_two_bounds_the_interval_is_wilsons() -> None:
    """Of 7 in 20 independent draws, with degrees of freedom without end."""
    known = Spread(variance=0.35 * 0.65 / 20, freedom=1e9, noise=np.zeros(1))
    wilson = binomtest(7, 20).proportion_ci(method="wilson")
    found = interval_around(0.35, known, (0.0, 1.0), behind=20)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)
    scaled = Spread(variance=4 * known.variance, freedom=1e9, noise=np.zeros(1))
    found = interval_around(-0.3, scaled, (-1.0, 1.0), behind=20)
    assert found.low == pytest.approx(2 * wilson.low - 1, abs=1e-6)


def test_images_that_repeat_each_other_count_once_in_a_share() -> None:
    once = np.random.default_rng(0).random(40) < 0.7
    alone = share_interval(once, np.arange(40))
    tenfold = share_interval(once.repeat(10), np.arange(40).repeat(10))
    assert (alone.low, alone.high) == pytest.approx((tenfold.low, tenfold.high))
    naive = share_interval(once.repeat(10), np.arange(400))
    assert naive.high - naive.low < 0.4 * (tenfold.high - tenfold.low)
    assert share_interval(np.ones(10, bool), np.arange(10)).low == pytest.approx(0.6915, abs=1e-4)


def test_the_variance_of_the_auroc_is_delongs_and_of_repeated_images_no_smaller() -> None:
    draw = np.random.default_rng(1)
    target = draw.random(80) < 0.4
    probability = np.round(draw.random(80) + 0.3 * target, 1)  # with ties
    beats = probability[target][:, None] - probability[~target]
    wins = (beats > 0) + 0.5 * (beats == 0)
    by_hand = wins.mean(axis=1).var(ddof=1) / target.sum()
    by_hand += wins.mean(axis=0).var(ddof=1) / (~target).sum()

    def variance(times: int) -> float:
        rows = Rows(
            target=target.repeat(times),
            probability=probability.repeat(times),
            decision=target.repeat(times),
            at=np.arange(80 * times),
            size=80 * times,
        )
        groups = np.arange(80).repeat(times)
        return spread_of_parts(auroc_influence(rows), groups, 80).variance

    _, _, (low, high), _ = Delong_test(target, probability, draw.random(80), return_auc=False)
    assert variance(1) == pytest.approx(((high - low) / 2 / norm.ppf(0.975)) ** 2, rel=1e-9)
    assert variance(1) == pytest.approx(by_hand, rel=1e-9)
    assert variance(5) == pytest.approx(by_hand, rel=1e-9)


def test_a_mean_of_scores_that_move_together_is_no_surer_than_one() -> None:
    one = Interval(low=0.6, high=0.75)
    same, apart = np.array([[1.0, -1, 1, -1]] * 2), np.array([[1.0, -1, 1, -1], [1, 1, -1, -1]])
    values, half = np.array([0.7, 0.7]), np.array([0.5, 0.5])
    together = mean_interval(values, [one, one], half, same)
    assert (together.low, together.high) == pytest.approx((0.6, 0.75))
    found = mean_interval(values, [one, one], half, apart)
    assert (found.low, found.high) == pytest.approx((0.7 - 0.1 / 2**0.5, 0.7 + 0.05 / 2**0.5))
    nothing = mean_interval(values, [one, Interval(reason="fewer than 2 groups")], half, same)
    assert nothing.reason == "fewer than 2 groups"


def test_few_patients_with_many_images_leave_few_degrees_of_freedom() -> None:
    assert freedom_of(np.full(30, 4)) == pytest.approx(29)
    assert freedom_of(np.array([3, 3, 0, 3])) == pytest.approx(2)  # who has none does not count
    large = np.array([20] * 5 + [1] * 100)
    assert 4 < freedom_of(large) < 5
    # those of the variance of normal means of such patients, from its own spread (Satterthwaite)
    draw = np.random.default_rng(0)
    variance = (draw.normal(0, large, (20_000, len(large))) ** 2).sum(axis=1)
    assert 2 * variance.mean() ** 2 / variance.var() == pytest.approx(
        freedom_of(large) + 1, rel=0.1
    )


def test_a_share_of_patients_of_unlike_size_is_less_sure_than_their_number_says() -> None:
    hits, sizes = np.random.default_rng(0).random(40) < 0.7, np.array([12] * 4 + [1] * 36)
    share, found, noise = share_and_noise(
        hits.repeat(sizes), np.ones(sizes.sum(), dtype=bool), np.arange(40).repeat(sizes)
    )
    known = Spread(variance=float((noise**2).sum()), freedom=39, noise=noise)
    narrow = interval_around(share, known, (0.0, 1.0), 40)
    assert found.high - found.low > 1.1 * (narrow.high - narrow.low)


def test_a_calibration_error_may_be_larger_than_few_patients_show() -> None:
    """Those that happen to be predicted well also vary little, so noise grows with the error."""
    draw = np.random.default_rng(0)
    terms = np.full(15, -0.004)
    resampled = terms + draw.normal(0, 0.02, (400, 1)) * terms / terms.sum()
    wide = inverted_interval(terms, resampled, 60, freedom=15)
    narrow = inverted_interval(terms, resampled, 60, freedom=59)
    assert 0.06 < narrow.high < 0.2  # 0.06 and two standard errors of 0.02 of its own
    assert wide.high > narrow.high
    assert wide.low <= narrow.low


def test_resamples_of_few_groups_are_widened() -> None:
    drawn = np.random.default_rng(2).normal(0.5, 0.1, 4000)
    few, many = (spread_of_draws(drawn, np.ones(groups)) for groups in (5, 10_000))
    assert few.variance == pytest.approx(0.01 * 5 / 4, rel=0.1)
    assert many.variance == pytest.approx(0.01, rel=0.1)
    narrow, wide = (interval_around(0.5, s, (0.0, 1.0), 5) for s in (many, few))
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)
