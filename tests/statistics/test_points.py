from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from medcnn.data.labels import Kind
from medcnn.statistics.decisions import ReadoutConfig, chosen_conformal, chosen_points, fit_readout
from medcnn.statistics.points import evaluate_readout
from medcnn.system.errors import UsageError


def judged(simulate: Any, kind: Kind, *, n: int = 300, **more: Any) -> Any:
    config = ReadoutConfig(
        calibration="none",
        operating_points=chosen_points(["youden", {"name": "sensitivity", "at": 0.9}]),
        conformal=chosen_conformal("split"),
        refer_share=0.1,
        unusual=None,
        unit=None,
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
        assert point.ppv.value == point.found / (point.found + point.alarms)
        assert point.npv.value == point.cleared / (point.cleared + point.missed)


def test_a_predictive_value_without_an_interval_says_why(simulate) -> None:
    few = judged(simulate, Kind.BINARY, n=8)
    for prevalence in (None, 0.1):
        for point in evaluate_readout(few, prevalence).points:
            for ends in (point.ppv, point.npv):
                assert math.isnan(ends.low) == bool(ends.note)


def test_at_the_prevalence_of_the_split_predictive_values_are_those_that_were_counted(
    simulate,
) -> None:
    predictions = judged(simulate, Kind.BINARY)
    counted = evaluate_readout(predictions).points[0]
    told = evaluate_readout(predictions, counted.prevalence).points[0]
    assert (told.ppv.value, told.npv.value) == pytest.approx((counted.ppv.value, counted.npv.value))
    rarer = evaluate_readout(predictions, 0.01).points[0]
    assert rarer.ppv.value < counted.ppv.value
    assert rarer.npv.value > counted.npv.value
    assert rarer.ppv.low < rarer.ppv.value < rarer.ppv.high
    assert rarer.sensitivity == counted.sensitivity


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


@pytest.mark.fault
@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_shares_of_fewer_than_five_patients_have_no_interval_as_no_score_has(
    simulate, prevalence: float | None
) -> None:
    """Row B21: "100 % (15.8 to 100)" of two images stood beside scores that were "too few"."""
    predictions = judged(simulate, Kind.BINARY, n=60)
    predictions.targets[:] = 0
    predictions.targets[:2] = 1
    predictions.logits[:] = -5 - np.arange(60)[:, None] / 60
    predictions.logits[:2] = 5
    for point in evaluate_readout(predictions, prevalence).points:
        assert np.isnan(point.ppv.low)
        assert point.ppv.note == "based on only 1 group"
        assert point.sensitivity.value == 1
        assert np.isnan(point.sensitivity.low)
        assert point.sensitivity.note == "based on only 1 group"
        assert np.isfinite(point.specificity.low)
        if prevalence:
            assert np.isnan(point.npv.low)
            assert point.npv.note == point.sensitivity.note


@pytest.mark.fault
def test_sets_are_counted_by_patient_and_by_image_and_empty_ones_are_reported(simulate) -> None:
    """Rows A15 and B18."""
    predictions = judged(simulate, Kind.MULTICLASS)
    keep = [i for i, g in enumerate(predictions.groups) if i % 2 == 0 or g.endswith("1")]
    predictions = replace(
        predictions,
        image_ids=tuple(predictions.image_ids[i] for i in keep),
        groups=tuple(predictions.groups[i] for i in keep),
        targets=predictions.targets[keep],
        logits=predictions.logits[keep],
    )
    sets, of = predictions.sets, np.unique(predictions.groups, return_inverse=True)[1]
    held = (sets & (predictions.targets == 1)).any(axis=1)
    overall = evaluate_readout(predictions).sets[0]
    own = np.bincount(of, weights=held) / np.bincount(of)
    assert overall.per == "patient"
    assert overall.coverage.value == pytest.approx(held.mean())
    assert overall.by_patient.value == pytest.approx(own.mean())
    assert overall.by_patient.count == len(own)
    assert overall.by_patient.low < overall.by_patient.value < overall.by_patient.high
    assert overall.empty == (~sets.any(axis=1)).sum()


def test_a_prevalence_of_an_unknown_label_is_refused(simulate) -> None:
    with pytest.raises(UsageError, match="the labels are mass, edema, x"):
        evaluate_readout(judged(simulate, Kind.MULTILABEL), {"Mass": 0.1})
