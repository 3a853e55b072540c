from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from medcnn.data.labels import Kind
from medcnn.statistics.curves import (
    OneLabel,
    confusion,
    four_cells,
    one_label,
    precision_recall,
    reliability,
    roc,
    thinned,
)
from medcnn.statistics.metrics.table import NUM_BINS, score


@pytest.fixture
def label(simulate) -> OneLabel:
    return one_label(simulate(Kind.BINARY, 200), 0)


def test_the_area_under_the_roc_curve_is_the_auroc(simulate) -> None:
    predictions = simulate(Kind.BINARY, 200)
    across, up = roc(one_label(predictions, 0))
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(up, across) == pytest.approx(score(predictions, "auroc"))


def test_the_area_under_the_precision_steps_is_the_average_precision(simulate) -> None:
    predictions = simulate(Kind.BINARY, 200)
    recall, precision = precision_recall(one_label(predictions, 0))
    area = (np.diff(recall) * precision[1:]).sum()
    assert area == pytest.approx(score(predictions, "average_precision"))


def test_reliability_counts_every_image_and_its_gaps_are_the_calibration_error(simulate) -> None:
    predictions = simulate(Kind.BINARY, 200)
    bins = reliability(one_label(predictions, 0))
    assert bins.count.sum() == 200
    assert len(bins.count) == NUM_BINS
    gap = np.nansum(bins.count * np.abs(bins.predicted - bins.observed)) / 200
    assert gap == pytest.approx(score(predictions, "ece"))


def test_the_curve_leaves_out_what_was_not_assessed(simulate) -> None:
    predictions = simulate(missing=0.3)
    known = ~np.isnan(predictions.targets[:, 1])
    label = one_label(predictions, 1)
    assert label.name == "edema"
    assert len(label.target) == known.sum()


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.MULTICLASS])
def test_confusion_equals_scikit_learn(simulate, kind: Kind) -> None:
    predictions = simulate(kind, missing=0.1)
    known = ~np.isnan(predictions.targets).any(axis=1)
    target, decision = predictions.targets[known], predictions.decisions[known]
    truth = target[:, 0] if kind is Kind.BINARY else target.argmax(axis=1)
    decided = decision[:, 0] if kind is Kind.BINARY else decision.argmax(axis=1)
    np.testing.assert_array_equal(confusion(predictions), sk.confusion_matrix(truth, decided))


def test_the_four_cells_add_up(label: OneLabel) -> None:
    found, missed, alarms, cleared = four_cells(label)
    assert found + missed == label.target.sum()
    assert found + alarms == label.decision.sum()
    assert found + missed + alarms + cleared == len(label.target)


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    draw = np.random.default_rng(0)
    target = draw.random(20_000) < 0.3
    probability = 1 / (1 + np.exp(-draw.normal(size=20_000) - 2 * target))
    whole = roc(
        OneLabel(name="x", target=target, probability=probability, decision=probability > 0.5)
    )
    few = thinned(*whole)
    assert len(few[0]) <= 302
    assert (few[0][0], few[1][0], few[0][-1], few[1][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(few[1], few[0]) == pytest.approx(np.trapezoid(whole[1], whole[0]), abs=1e-3)


def test_a_short_curve_stays_as_it_is() -> None:
    across, up = np.array([0, 0.5, 1]), np.array([0, 0.9, 1])
    assert thinned(across, up)[0] is across
