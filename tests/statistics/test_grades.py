from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from medcnn.data.labels import Kind
from medcnn.statistics.decisions import Readout
from medcnn.statistics.operating import expected_grade, fit_point
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.scores import evaluate


@pytest.fixture(scope="module")
def graded(simulate):
    """Predictions whose cut points of kappa stand behind another rule."""
    v = simulate(Kind.ORDINAL, 400, seed=7)
    points = (fit_point({"name": name}, v.probabilities, v.targets) for name in ("youden", "kappa"))
    return replace(simulate(Kind.ORDINAL, 300, missing=0.1), readout=Readout(points=tuple(points)))


def test_cut_points_of_kappa_are_counted_wherever_the_rule_stands(graded) -> None:
    (found,) = evaluate_readout(graded).grades
    known = ~np.isnan(graded.targets).any(axis=1)
    truth = graded.targets[known].argmax(axis=1)
    grade = expected_grade(graded.probabilities[known])
    assert [c.label for c in found.cuts] == list(graded.labels.outputs[1:])
    for k, cut in enumerate(found.cuts, 1):
        reached, called = truth >= k, grade >= cut.threshold
        cells = confusion_matrix(reached, called).ravel().tolist()
        assert [cut.cleared, cut.alarms, cut.missed, cut.found] == cells
        assert cut.sensitivity.value == pytest.approx(called[reached].mean())
        assert cut.specificity.value == pytest.approx((~called)[~reached].mean())
        assert cut.kappa.value == pytest.approx(cohen_kappa_score(reached, called))
        for share in (cut.sensitivity, cut.specificity, cut.kappa):
            assert share.low < share.value < share.high


def test_the_kappa_of_all_grades_is_the_score_that_the_rule_has_where_it_decides(graded) -> None:
    (found,) = evaluate_readout(graded).grades
    decides = replace(graded, readout=Readout(points=graded.readout.points[1:]))
    score = evaluate(decides).find("quadratic_weighted_kappa")
    assert found.kappa.value == pytest.approx(score.value)
    assert (found.kappa.low, found.kappa.high) == pytest.approx((score.low, score.high))


def test_a_kappa_without_an_interval_says_why(simulate, graded) -> None:
    few = replace(simulate(Kind.ORDINAL, 6), readout=graded.readout)
    (found,) = evaluate_readout(few).grades
    assert np.isnan(found.kappa.low)
    assert found.kappa.note == "based on only 3 groups"
    nothing = replace(few, targets=np.full_like(few.targets, np.nan))
    (found,) = evaluate_readout(nothing).grades
    assert np.isnan(found.kappa.value)
    assert found.kappa.note
