from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, f1_score, roc_curve

from medcnn.data.labels import Kind
from medcnn.statistics.decisions import Readout, chosen_points
from medcnn.statistics.operating import best_threshold, fit_point, rule_words, youden


def threshold(target: list[float], probability: list[float]) -> float:
    return best_threshold(np.array(target, dtype=np.float32), np.array(probability), youden)[0]


def test_the_cut_lies_in_the_middle_between_two_neighbouring_probabilities() -> None:
    assert threshold([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.8]) == pytest.approx(0.5)


def test_of_equally_good_cuts_the_one_in_the_widest_gap_is_taken() -> None:
    # cutting after 0.1 or after 0.5 gives the same J
    assert threshold([0, 1, 0, 1], [0.1, 0.2, 0.5, 0.9]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("target", "probability", "reason"),
    [
        ([0, 0], [0.1, 0.9], "only one class in validation"),
        ([1, 1], [0.1, 0.9], "only one class in validation"),
        ([np.nan, np.nan], [0.1, 0.9], "no image was assessed in validation"),
        ([0, 1], [0.2, 0.2], "all probabilities in validation are equal"),
        ([1, 0], [0.1, 0.9], "no cut is better than the same answer for all validation images"),
    ],
)
def test_where_there_is_nothing_to_pick_it_is_one_half_with_the_reason(
    simulate, target: list[float], probability: list[float], reason: str
) -> None:
    labels = simulate(Kind.BINARY).labels
    columns = (np.array(cells, np.float32)[:, None] for cells in (probability, target))
    point = fit_point({"name": "youden"}, *columns)
    assert (point.thresholds, point.reason(0)) == ((0.5,), reason)
    readout = Readout(points=(point,))
    assert Readout.from_json(readout.to_json()) == readout
    assert readout.rule(labels).endswith(f"; 0.5 for {labels.outputs[0]}, not chosen: {reason}")


def test_a_threshold_that_was_picked_has_no_reason_and_files_without_reasons_are_read(
    simulate,
) -> None:
    readout = fitted(simulate(Kind.MULTILABEL), "youden").readout
    assert readout.points[0].reasons == ()
    stored = readout.to_json()
    del stored["points"][0]["reasons"]
    assert Readout.from_json(stored).points[0].reason(1) == ""


@pytest.mark.parametrize(
    ("grades", "spread", "reason"),
    [
        ([1, 1, 1], 1, "only one grade in validation"),
        ([0, 1, 2], 0, "all probabilities in validation are equal"),
    ],
)
def test_grades_that_no_cut_tells_apart_are_cut_at_halves_and_not_called_fitted(
    simulate, grades: list[int], spread: float, reason: str
) -> None:
    predictions = simulate(Kind.ORDINAL, 3)
    odd = replace(
        predictions,
        targets=np.eye(3, dtype=np.float32)[grades],
        logits=spread * predictions.logits,
    )
    readout = fitted(odd, "kappa").readout
    assert readout.points[0].thresholds == (0.5, 1.5)
    assert readout.rule(odd.labels).endswith(f"cut at 0.5, 1.5 (not fitted: {reason})")


def test_between_two_adjacent_floats_the_lower_stays_negative() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    cut = threshold([0, 1], [low, high])
    assert low < cut <= high


def fitted(predictions: Any, rule: Any) -> Any:
    point = fit_point(chosen_points(rule)[0], predictions.probabilities, predictions.targets)
    return replace(predictions, readout=Readout(points=(point,)))


def columns(predictions: Any) -> Any:
    """Target, probability and decision of each label where it was assessed."""
    for k in range(predictions.targets.shape[1]):
        known = ~np.isnan(predictions.targets[:, k])
        yield (
            predictions.targets[known, k] == 1,
            predictions.probabilities[known, k],
            predictions.decisions[known, k],
        )


def test_no_threshold_has_a_larger_sensitivity_plus_specificity(simulate) -> None:
    for target, p, decided in columns(
        fitted(simulate(Kind.MULTILABEL, 300, missing=0.2), "youden")
    ):
        false, true, _ = roc_curve(target, p)
        j = decided[target].mean() - decided[~target].mean()
        assert j == pytest.approx((true - false).max())


@pytest.mark.parametrize("at", [0.5, 0.8, 0.95, 1.0])
def test_a_fixed_sensitivity_is_reached_with_the_best_specificity_there_is(simulate, at) -> None:
    predictions = fitted(simulate(Kind.MULTILABEL, 200), {"name": "sensitivity", "at": at})
    for target, p, decided in columns(predictions):
        false, true, _ = roc_curve(target, p, drop_intermediate=False)
        assert decided[target].mean() >= at
        assert 1 - decided[~target].mean() == pytest.approx(1 - false[true >= at - 1e-12].min())


@pytest.mark.parametrize("at", [0.5, 0.8, 0.95, 1.0])
def test_a_fixed_specificity_is_reached_with_the_best_sensitivity_there_is(simulate, at) -> None:
    predictions = fitted(simulate(Kind.MULTILABEL, 200), {"name": "specificity", "at": at})
    for target, p, decided in columns(predictions):
        false, true, _ = roc_curve(target, p, drop_intermediate=False)
        assert 1 - decided[~target].mean() >= at
        assert decided[target].mean() == pytest.approx(true[1 - false >= at - 1e-12].max())


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        ("f1", f1_score),
        ({"name": "cost", "miss": 5.0}, lambda t, d: -(5 * (t & ~d).sum() + (~t & d).sum())),
        (
            {"name": "cost", "miss": 1.0, "false_alarm": 9.0},
            lambda t, d: -(t & ~d).sum() - 9 * (~t & d).sum(),
        ),
    ],
)
def test_no_other_cut_is_better_by_the_rule(simulate, rule, score) -> None:
    for target, p, decided in columns(fitted(simulate(Kind.MULTILABEL, 150), rule)):
        cuts = [*np.unique(p), 2.0]
        best = max(score(target, p >= cut) for cut in cuts)
        assert score(target, decided) == pytest.approx(best)


def test_cut_points_of_the_grade_have_a_kappa_that_a_search_of_all_cuts_does_not_surpass_by_much(
    simulate,
) -> None:
    predictions = fitted(simulate(Kind.ORDINAL, 120), "kappa")
    truth = predictions.targets.argmax(axis=1)
    found = cohen_kappa_score(truth, predictions.decisions.argmax(axis=1), weights="quadratic")
    grade = predictions.probabilities @ np.arange(predictions.targets.shape[1])
    levels = np.quantile(grade, np.linspace(0, 1, 12))
    everywhere = itertools.combinations_with_replacement(levels, predictions.targets.shape[1] - 1)
    best = max(
        cohen_kappa_score(truth, np.searchsorted(cuts, grade, side="right"), weights="quadratic")
        for cuts in everywhere
    )
    assert found >= best - 0.01
    halves = np.searchsorted(np.arange(2) + 0.5, grade, side="right")
    assert found >= cohen_kappa_score(truth, halves, weights="quadratic")


def test_a_sure_cut_misses_its_sensitivity_as_seldom_as_it_says() -> None:
    """A cut that just finds 90 % on 40 sick patients finds fewer on new ones more often
    than not; one whose lower bound reaches it does not."""
    draw, missed = np.random.default_rng(2), {}
    for _ in range(150):
        sick = np.arange(120) < 40
        p = norm.cdf(draw.normal(size=120) + 2 * sick - 1)
        for rule in (
            {"name": "sensitivity", "at": 0.9},
            {"name": "sure_sensitivity", "at": 0.9, "confidence": 0.95},
        ):
            point = fit_point(rule, p[:, None], sick[:, None].astype(float))
            assert not point.reason(0)
            true = norm.cdf(1 - norm.ppf(point.thresholds[0]))
            missed.setdefault(rule["name"], []).append(true < 0.9)
    assert np.mean(missed["sensitivity"]) > 0.4
    assert np.mean(missed["sure_sensitivity"]) < 0.09


def test_a_sure_cut_knows_that_images_of_a_patient_are_alike_and_says_when_there_are_too_few() -> (
    None
):
    draw = np.random.default_rng(5)
    sick = np.arange(150) < 50
    p = norm.cdf(draw.normal(size=150) + 2 * sick - 1)
    (rule,) = chosen_points({"name": "sure_sensitivity", "at": 0.8})
    column = p[:, None], sick[:, None].astype(float)
    alone = fit_point(rule, *column)
    of = np.array([f"{i // 3}" for i in range(150)])
    together = fit_point(rule, p.repeat(3)[:, None], sick.repeat(3)[:, None], of.repeat(3).tolist())
    assert fit_point(rule, *column, of.tolist()).thresholds[0] <= alone.thresholds[0]
    assert together.thresholds[0] <= alone.thresholds[0]
    few = fit_point(rule, *column, ["a" if i < 25 else "b" for i in range(150)])
    assert few.thresholds == (0.5,)
    assert "too small" in few.reason(0)
    assert rule_words(alone.name) == "sensitivity of at least 0.8 with 0.95 confidence"
    (rule,) = chosen_points({"name": "sure_specificity", "at": 0.8})
    cleared = (p[~sick] < fit_point(rule, *column).thresholds[0]).mean()
    plain = (p[~sick] < fit_point({"name": "specificity", "at": 0.8}, *column).thresholds[0]).mean()
    assert cleared > plain >= 0.8


def test_exclusive_classes_are_decided_without_threshold(simulate) -> None:
    for kind in (Kind.MULTICLASS, Kind.ORDINAL):
        predictions = simulate(kind)
        assert fitted(predictions, "youden").thresholds is None
        assert (fitted(predictions, "youden").decisions == predictions.decisions).all()
