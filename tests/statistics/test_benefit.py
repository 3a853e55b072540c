"""Net benefit, number needed to screen, expected cost."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.benefit import GRID, curves, worths
from medcnn.statistics.decisions import Readout
from medcnn.statistics.operating import fit_point
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions


def at(predictions: Predictions, threshold: float, prevalence: float | None = None):
    return next(p for p in next(curves(predictions, prevalence)).points if p.threshold == threshold)


@pytest.mark.parametrize(
    ("prevalence", "threshold", "model", "everybody"),
    [
        (None, 0.05, 0.316316, 0.315789),
        (None, 0.1, 0.286111, 0.277778),
        (None, 0.2, 0.231250, 0.187500),
        (None, 0.3, 0.204286, 0.071429),
        (None, 0.5, 0.175000, -0.300000),
        (None, 0.7, 0.193333, -1.166667),
        (0.1, 0.05, 0.053360, 0.052632),
        (0.1, 0.1, 0.011538, 0.000000),
        (0.1, 0.2, -0.058929, -0.125000),
        (0.1, 0.5, -0.098352, -0.800000),
        (0.1, 0.7, 0.042418, -2.000000),
    ],
)
def test_net_benefit_is_that_of_dcurves(simulate, prevalence, threshold, model, everybody) -> None:
    """As `dcurves.dca` 1.1.7 (Apache-2.0) gives it for the same table; it needs lifelines and
    statsmodels, so its numbers are written down here."""
    found = at(simulate(Kind.BINARY, 200), threshold, prevalence)
    assert found.model.value == pytest.approx(model, abs=1e-6)
    assert found.all == pytest.approx(everybody, abs=1e-6)
    assert found.over_all.value == pytest.approx(model - everybody, abs=1e-6)


def test_the_prevalence_of_the_images_gives_the_same_value_and_a_narrower_interval(
    simulate,
) -> None:
    """A prevalence that is known adds no uncertainty."""
    predictions = simulate(Kind.BINARY, 200)
    own = at(predictions, 0.3).model
    given = at(predictions, 0.3, float(predictions.targets.mean())).model
    assert given.value == pytest.approx(own.value)
    assert given.high - given.low < own.high - own.low


def test_a_perfect_model_is_useful_in_a_wide_range_and_a_constant_one_nowhere(simulate) -> None:
    predictions = simulate(Kind.BINARY, 200)
    perfect = replace(predictions, logits=np.where(predictions.targets == 1, 9.0, -9.0))
    low, high = next(curves(perfect)).useful
    # where one miss weighs much, 100 patients without one do not exclude it
    assert GRID[0] < low < 0.1
    assert 0.85 < high < GRID[-1]
    constant = replace(predictions, logits=np.zeros_like(predictions.logits))
    assert next(curves(constant)).useful is None


def test_an_interval_needs_five_patients_with_the_finding(simulate) -> None:
    predictions = simulate(Kind.BINARY, 200)
    targets = np.zeros_like(predictions.targets)
    targets[:4] = 1
    found = at(replace(predictions, targets=targets), 0.1).model
    assert math.isnan(found.low)
    assert found.note == "based on only 2 groups"
    assert not list(curves(replace(predictions, targets=0 * targets)))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """60 patients of three images that share most of their noise; the truth is of 20,000."""
    from tests.statistics.test_scores import skilled

    truth = {
        t: at(skilled(np.random.default_rng(1), 20_000, 0.3), t).model.value for t in (0.1, 0.3)
    }
    draw, held = np.random.default_rng(0), []
    for _ in range(150):
        sample = skilled(draw, 60, 0.3)
        for t, value in truth.items():
            found = at(sample, t).model
            held.append(found.low <= value <= found.high)
    assert 0.91 < np.mean(held) < 0.99


def with_points(predictions: Predictions, *rules: dict) -> Predictions:
    p, t = predictions.probabilities, predictions.targets
    return replace(predictions, readout=Readout(points=tuple(fit_point(r, p, t) for r in rules)))


def test_images_for_a_case_and_alarms_for_a_right_one_are_counted(simulate) -> None:
    predictions = with_points(simulate(Kind.BINARY, 200), {"name": "youden"})
    judged = evaluate_readout(predictions)
    (point,), (worth,) = judged.points, judged.worths
    assert worth.screened.value == pytest.approx(200 / point.found)
    assert worth.screened.low < worth.screened.value < worth.screened.high
    assert worth.examined.value == pytest.approx((point.found + point.alarms) / point.found)
    assert worth.cost is None
    at_one_percent = evaluate_readout(predictions, 0.01)
    rare = at_one_percent.worths[0]
    assert rare.screened.value == pytest.approx(1 / (0.01 * point.sensitivity.value))
    assert rare.screened.high == pytest.approx(1 / (0.01 * point.sensitivity.low))
    assert rare.examined.value == pytest.approx(
        1 / evaluate_readout(predictions, 0.01).points[0].ppv.value
    )


def test_expected_cost_is_that_of_the_rule_by_costs_and_none_without(simulate) -> None:
    rules = {"name": "youden"}, {"name": "cost", "miss": 10.0, "false_alarm": 2.0}
    predictions = with_points(simulate(Kind.BINARY, 200), *rules)
    judged = evaluate_readout(predictions)
    for point, worth in zip(judged.points, judged.worths, strict=True):
        cost = (10 * point.missed + 2 * point.alarms) / 200
        assert worth.cost.value == pytest.approx(cost)
        assert worth.cost_all == pytest.approx(2 * (point.alarms + point.cleared) / 200)
        assert worth.cost_none == pytest.approx(10 * (point.found + point.missed) / 200)
    by_cost = judged.worths[1].cost.value
    assert by_cost <= min(judged.worths[0].cost.value, judged.worths[0].cost_all)


def test_a_point_that_finds_nothing_says_so_and_json_holds_no_infinity(simulate) -> None:
    predictions = with_points(simulate(Kind.BINARY, 200), {"name": "youden"})
    low = replace(predictions, logits=predictions.logits - 99)
    judged = evaluate_readout(low)
    (worth,) = worths(low, {(r.point, r.label): r.ppv for r in judged.points})
    assert worth.screened.note == "no case is found"
    json.dumps(judged.to_json(), allow_nan=False)
