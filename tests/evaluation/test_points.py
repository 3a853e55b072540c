from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from medcnn.errors import UsageError
from medcnn.evaluation.intervals import share_interval
from medcnn.evaluation.points import (
    Share,
    evaluate_readout,
    predictive_intervals,
    predictive_values,
)
from medcnn.labels import Kind
from medcnn.readout import ReadoutConfig, chosen_conformal, chosen_points, fit_readout


def judged(simulate: Any, kind: Kind, *, n: int = 300, **more: Any) -> Any:
    config = ReadoutConfig(
        calibration="none",
        operating_points=chosen_points(["youden", {"name": "sensitivity", "at": 0.9}]),
        conformal=chosen_conformal("split"),
        refer_share=0.1,
    )
    v = simulate(kind, 400, seed=7)
    readout = fit_readout(config, v.labels, v.logits, v.targets, v.groups)
    return replace(simulate(kind, n, **more), readout=readout)


def test_the_four_cells_are_those_of_scikit_learn(simulate) -> None:
    predictions = judged(simulate, Kind.MULTILABEL, missing=0.2)
    for point in evaluate_readout(predictions).points:
        k = predictions.labels.outputs.index(point.label)
        known = ~np.isnan(predictions.targets[:, k])
        called = predictions.probabilities[known, k] >= point.threshold
        cells = confusion_matrix(predictions.targets[known, k] == 1, called).ravel().tolist()
        assert [point.cleared, point.alarms, point.missed, point.found] == cells
        assert point.sensitivity.value == point.found / (point.found + point.missed)
        assert point.ppv_value == point.found / (point.found + point.alarms)
        assert point.npv_value == point.cleared / (point.cleared + point.missed)


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


def test_at_the_prevalence_of_the_split_predictive_values_are_those_that_were_counted(
    simulate,
) -> None:
    predictions = judged(simulate, Kind.BINARY)
    counted = evaluate_readout(predictions).points[0]
    told = evaluate_readout(predictions, counted.prevalence).points[0]
    assert (told.ppv_value, told.npv_value) == pytest.approx((counted.ppv_value, counted.npv_value))
    rarer = evaluate_readout(predictions, 0.01).points[0]
    assert rarer.ppv_value < counted.ppv_value
    assert rarer.npv_value > counted.npv_value
    assert rarer.ppv.low < rarer.ppv_value < rarer.ppv.high
    assert rarer.sensitivity == counted.sensitivity


def test_intervals_of_predictive_values_hold_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    truth = predictive_values(0.85, 0.8, 0.05)
    hits = np.zeros(2)
    rounds = 600
    for _ in range(rounds):
        sides = [(draw.random(n) < p, np.arange(n)) for n, p in ((80, 0.85), (160, 0.8))]
        sens, spec = (Share.among(*side) for side in sides)
        found = predictive_intervals(sens, spec, 0.05)
        hits += [i.low <= t <= i.high for i, t in zip(found, truth, strict=True)]
    assert (abs(hits / rounds - 0.95) < 0.03).all()


def test_predictive_values_that_are_found_to_be_1_have_an_interval_too() -> None:
    draw = np.random.default_rng(0)
    sensitivity, specificity = 0.995, 0.7  # of 80 patients, sensitivity is often found to be 1
    _, true_npv = predictive_values(sensitivity, specificity, 0.2)
    held, of = 0, 0
    for _ in range(600):
        hits = draw.random(80) < sensitivity
        sens = Share.among(hits, np.arange(80))
        spec = Share.among(draw.random(100) < specificity, np.arange(100))
        _, npv = predictive_intervals(sens, spec, 0.2)
        if hits.all():
            assert npv.high == 1.0
            assert npv.low > 0.9
            # the same odds upside down: who is never missed, and who is never falsely alarmed
            other = predictive_intervals(spec, sens, 0.8)[0]
            assert (other.low, other.high) == pytest.approx((npv.low, npv.high))
            held += npv.low <= true_npv <= npv.high
            of += 1
    assert of > 300
    assert held / of > 0.95


def test_predictive_values_of_0_have_an_interval_and_those_of_nobody_a_reason() -> None:
    never = Share(value=0.0, low=0.0, high=0.3, of=10)
    always = Share(value=1.0, low=0.7, high=1.0, of=10)
    half = Share(value=0.5, low=0.2, high=0.8, of=10)
    ppv, _ = predictive_intervals(never, half, 0.1)
    assert ppv.low == 0.0
    assert 0.0 < ppv.high < 0.2
    ppv, npv = predictive_intervals(never, always, 0.1)
    assert math.isnan(ppv.low)
    assert ppv.reason == "nobody is called so"
    assert 0.9 > npv.low > 0.8


@pytest.mark.parametrize("kind", Kind)
def test_sets_hold_the_truth_of_another_draw_about_as_often_as_was_asked(
    simulate, kind: Kind
) -> None:
    rows = evaluate_readout(judged(simulate, kind, n=2000, seed=3)).sets
    for row in rows:
        if row.label is None or kind is Kind.MULTILABEL:
            assert abs(row.coverage.value - 0.9) < 0.05
            assert 0.5 < row.mean_size < len(rows)


def test_the_area_under_risk_and_coverage_is_the_mean_risk_over_all_cuts(simulate) -> None:
    predictions = judged(simulate, Kind.MULTICLASS)
    found = evaluate_readout(predictions)
    sure = predictions.probabilities.max(axis=1)
    wrong = (predictions.decisions != (predictions.targets == 1)).any(axis=1)
    risks = [wrong[sure >= level].mean() for level in np.sort(sure)[::-1]]
    assert found.aurc == pytest.approx(np.mean(risks))
    assert found.curve[-1] == (1.0, pytest.approx(wrong.mean()))
    none, tenth = found.referral[0], found.referral[2]
    assert (none.share, none.left) == (0.0, 300)
    assert (tenth.share, tenth.left) == (0.1, 270)
    assert tenth.error.value < none.error.value


def test_certainty_that_says_nothing_gains_nothing(simulate) -> None:
    predictions = judged(simulate, Kind.BINARY)
    same = replace(predictions, logits=np.full_like(predictions.logits, 0.7))
    curve = evaluate_readout(same).curve
    assert {round(risk, 9) for _, risk in curve} == {round(curve[-1][1], 9)}


@pytest.mark.fault
def test_images_of_equal_certainty_are_referred_together_whatever_their_order(simulate) -> None:
    """Row 82."""
    predictions = judged(simulate, Kind.BINARY, n=100)
    targets = (np.arange(100) < 50).astype(np.float64)[:, None]
    for own in (targets, targets[::-1]):
        same = replace(predictions, targets=own, logits=np.full_like(predictions.logits, -0.7))
        rows = evaluate_readout(same).referral
        assert [(r.share, r.left, r.error.value) for r in rows] == [(0.0, 100, 0.5)]
        three = replace(same, logits=np.repeat([-0.1, -1.0, -2.0], [30, 30, 40])[:, None])
        rows = evaluate_readout(three).referral
        # 30 % and 50 % less certain: of both only the first 30 can go
        assert [(r.share, r.left) for r in rows] == [(0.0, 100), (0.3, 70)]


def test_the_bound_that_predict_refers_by_is_judged_on_the_split(simulate) -> None:
    predictions = judged(simulate, Kind.MULTICLASS)
    found = evaluate_readout(predictions).bound
    unsure = predictions.probabilities.max(axis=1) < predictions.readout.referral.certainty
    wrong = (predictions.decisions != (predictions.targets == 1)).any(axis=1)
    assert found.asked == 0.1
    assert found.referred.value == pytest.approx(unsure.mean())
    assert found.error.value == pytest.approx(wrong[~unsure].mean())
    assert found.error.low < found.error.value < found.error.high
    silent = replace(predictions, readout=replace(predictions.readout, referral=None))
    assert evaluate_readout(silent).bound is None


@pytest.mark.fault
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_handful_of_images_gives_no_number_rather_than_a_wrong_one(
    simulate, kind: Kind, n: int
) -> None:
    """Rows 80 and 81."""
    predictions = judged(simulate, kind, n=n)
    for targets in (predictions.targets, np.full_like(predictions.targets, np.nan)):
        found = evaluate_readout(replace(predictions, targets=targets), 0.1)
        json.dumps(found.to_json(), allow_nan=False)


def test_a_prevalence_of_an_unknown_label_is_refused(simulate) -> None:
    with pytest.raises(UsageError, match="the labels are mass, edema, x"):
        evaluate_readout(judged(simulate, Kind.MULTILABEL), {"Mass": 0.1})
