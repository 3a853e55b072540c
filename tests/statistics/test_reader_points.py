from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medcnn.statistics.curves import OneLabel
from medcnn.statistics.reader_points import ReaderPoint, beside, points_of
from medcnn.system.errors import UsageError


def label(found: int, positives: int = 50, negatives: int = 50) -> OneLabel:
    """`found` positives above all negatives, the others below them."""
    target = np.r_[np.ones(positives, bool), np.zeros(negatives, bool)]
    ranks = np.r_[np.full(found, 0.9), np.full(positives - found, 0.1)]
    probability = np.r_[ranks, np.linspace(0.3, 0.6, negatives)]
    return OneLabel(name="ill", target=target, probability=probability, decision=probability > 0.5)


def point(**more: object) -> ReaderPoint:
    return ReaderPoint(**{"label": "ill", "sensitivity": 0.8, "specificity": 0.6, **more})


def test_a_box_is_the_exact_interval() -> None:
    sensitivity, specificity = point(positives=50, negatives=20).box
    for (low, high), (hits, of) in ((sensitivity, (40, 50)), (specificity, (12, 20))):
        expected = stats.binomtest(hits, of).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((expected.low, expected.high))
    assert point(sensitivity=1.0, positives=10, negatives=10).box[0][1] == 1
    assert point(sensitivity=0.0, positives=10, negatives=10).box[0][0] == 0
    assert point(positives=50).box is None, "of the specificity nothing is known"


def test_the_model_is_held_against_the_readers_at_their_specificity() -> None:
    found = beside(label(47), point())
    assert (found.found, found.positives) == (47, 50)
    expected = stats.binomtest(47, 50, 0.8, alternative="greater").pvalue
    assert found.p == pytest.approx(expected)
    assert found.p < 0.05 < beside(label(42), point()).p


def test_a_higher_specificity_costs_sensitivity() -> None:
    draw = np.random.default_rng(0)
    target = draw.random(400) < 0.5
    probability = draw.random(400) / 2 + 0.3 * target
    one = OneLabel(name="ill", target=target, probability=probability, decision=probability > 0.5)
    strict, lax = (beside(one, point(specificity=s)) for s in (0.95, 0.5))
    assert strict.found < lax.found
    allowed = np.sort(probability[~target])[::-1][int(0.05 * (~target).sum())]
    assert strict.found == (probability[target] > allowed).sum()


def test_the_test_keeps_its_level() -> None:
    draw = np.random.default_rng(1)
    p = [beside(label(int(n)), point()).p for n in draw.binomial(50, 0.8, 2000)]
    assert np.mean(np.array(p) <= 0.05) <= 0.06


def test_all_wrong_rows_are_reported_at_once() -> None:
    rows = [
        {"label": "ill", "sensitivity": "82", "specificity": 0.5},
        {"label": "ill", "sensitivty": 0.8, "specificity": 0.5},
        {"label": "ill", "sensitivity": 0.8, "specificity": 0.5, "positives": "0"},
        "eight dermatologists",
    ]
    with pytest.raises(UsageError) as told:
        points_of(rows, "readers=x.yaml")
    lines = str(told.value).splitlines()
    assert len(lines) == 4
    assert "sensitivity=82 should be a share from 0 to 1" in lines[0]
    assert "did you mean 'sensitivity'" in lines[1]
    assert "positives=0 should be a number of images" in lines[2]
    with pytest.raises(UsageError, match="names no reader"):
        points_of([], "readers=x.yaml")


def test_cells_of_a_csv_mean_what_yaml_does() -> None:
    cells = {"label": "ill", "sensitivity": "0.8", "specificity": "0.6", "positives": "50"}
    cells |= {"negatives": "20", "who": "", "same_images": "yes"}
    assert points_of([cells], "x.csv") == [point(positives=50, negatives=20, same_images=True)]
    assert points_of([point().to_json()], "run.json") == [point()]
