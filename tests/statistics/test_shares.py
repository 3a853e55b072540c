from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from medcnn.statistics.estimates import Estimate
from medcnn.statistics.intervals import share_interval
from medcnn.statistics.shares import predictive_estimates, predictive_values, share_of


def test_with_one_image_a_patient_a_share_has_the_interval_of_wilson() -> None:
    for hits, n in ((3, 20), (45, 60), (299, 300)):
        found = share_interval(np.arange(n) < hits, np.arange(n))
        exact = binomtest(hits, n).proportion_ci(method="wilson")
        # Student's t of n - 1 patients reaches further than the normal quantile
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.025)


def test_the_same_image_ten_times_says_no_more_than_once() -> None:
    hits = np.arange(60) < 45
    once = share_interval(hits, np.arange(60))
    often = share_interval(np.repeat(hits, 10), np.repeat(np.arange(60), 10))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_predictive_values_follow_bayes() -> None:
    # 10,000 people of whom 100 are ill: 90 found, 10 missed, 990 alarms, 8,910 cleared
    ppv, npv = predictive_values(0.9, 0.9, 0.01)
    assert (ppv, npv) == (pytest.approx(90 / 1080), pytest.approx(8910 / 8920))
    assert math.isnan(predictive_values(0.0, 1.0, 0.1)[0])


def test_intervals_of_predictive_values_hold_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    truth = predictive_values(0.85, 0.8, 0.05)
    hits = np.zeros(2)
    rounds = 600
    for _ in range(rounds):
        sides = [(draw.random(n) < p, np.arange(n)) for n, p in ((80, 0.85), (160, 0.8))]
        sens, spec = (share_of(*side) for side in sides)
        found = predictive_estimates(sens, spec, 0.05)
        hits += [i.low <= t <= i.high for i, t in zip(found, truth, strict=True)]
    assert (abs(hits / rounds - 0.95) < 0.03).all()


def test_predictive_values_that_are_found_to_be_1_have_an_interval_too() -> None:
    draw = np.random.default_rng(0)
    sensitivity, specificity = 0.995, 0.7  # of 80 patients, sensitivity is often found to be 1
    _, true_npv = predictive_values(sensitivity, specificity, 0.2)
    held, of = 0, 0
    for _ in range(600):
        hits = draw.random(80) < sensitivity
        sens = share_of(hits, np.arange(80))
        spec = share_of(draw.random(100) < specificity, np.arange(100))
        _, npv = predictive_estimates(sens, spec, 0.2)
        if hits.all():
            assert npv.high == 1.0
            assert npv.low > 0.9
            # the same odds upside down: who is never missed, and who is never falsely alarmed
            other = predictive_estimates(spec, sens, 0.8)[0]
            assert (other.low, other.high) == pytest.approx((npv.low, npv.high))
            held += npv.low <= true_npv <= npv.high
            of += 1
    assert of > 300
    assert held / of > 0.95


def test_no_interval_of_a_predictive_value_is_a_point() -> None:
    for found, sick, cleared, healthy in itertools.product((0, 1, 39, 40), (40,), (0, 60), (60,)):
        hits = [np.arange(n) < k for k, n in ((found, sick), (cleared, healthy))]
        sens, spec = (share_of(h, np.arange(len(h))) for h in hits)
        for prevalence in (0.0001, 0.01, 0.5, 0.99):
            for interval in predictive_estimates(sens, spec, prevalence):
                assert interval.note or interval.low < interval.high
        for share in (sens, spec):
            assert share.low < share.high


def test_predictive_values_of_0_have_an_interval_and_those_of_nobody_a_reason() -> None:
    never = Estimate(value=0.0, low=0.0, high=0.3, count=10, groups=10)
    always = Estimate(value=1.0, low=0.7, high=1.0, count=10, groups=10)
    half = Estimate(value=0.5, low=0.2, high=0.8, count=10, groups=10)
    ppv, _ = predictive_estimates(never, half, 0.1)
    assert ppv.low == 0.0
    assert 0.0 < ppv.high < 0.2
    ppv, npv = predictive_estimates(never, always, 0.1)
    assert math.isnan(ppv.low)
    assert ppv.note == "no image is called so"
    assert 0.9 > npv.low > 0.8
