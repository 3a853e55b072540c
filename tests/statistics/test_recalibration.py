"""Recalibration by a closed test: right fits, few false alarms, judged on other cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.recalibration import (
    Way,
    changed,
    closed_test,
    logistic,
    recalibrations,
)


def drawn(n: int, seed: int = 0, *, intercept: float = 0.0, slope: float = 1.0):
    """Log odds of a model [N], and labels [N] that follow them but for a shift."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.normal(size=n)
    return z, (rng.random(n) < 1 / (1 + np.exp(-(intercept + slope * z)))).astype(float)


def test_coefficients_are_those_of_statsmodels() -> None:
    glm = pytest.importorskip("statsmodels.api")
    z, y = drawn(300, intercept=0.7, slope=0.6)
    x = np.stack([np.ones(300), z], axis=1)
    weights = np.random.default_rng(1).uniform(0.2, 1, 300)
    nothing = np.zeros(300)
    for columns, offset in ((x[:, :1], z), (x, nothing)):
        model = glm.GLM(
            y, columns, family=glm.families.Binomial(), offset=offset, freq_weights=weights
        ).fit(tol=1e-12)
        found, likelihood = logistic(columns, y, weights, offset)
        assert found == pytest.approx(model.params, abs=1e-6)
        assert likelihood == pytest.approx(model.llf, rel=1e-9)


def test_a_shift_is_recovered_by_the_least_change_that_explains_it() -> None:
    for intercept, slope, way, coefficients in (
        (1.0, 1.0, Way.INTERCEPT, [1.0]),
        (0.5, 0.4, Way.BOTH, [0.5, 0.4]),
    ):
        z, y = drawn(4000, intercept=intercept, slope=slope)
        found, fitted = closed_test(z, z[:, None], y, np.ones(4000))
        assert found is way
        assert fitted == pytest.approx(coefficients, abs=0.12)


def test_a_model_that_is_right_is_left_alone_in_95_of_100_hospitals() -> None:
    ways = [
        closed_test(z, z[:, None], y, np.ones(200))[0]
        for z, y in (drawn(200, seed) for seed in range(200))
    ]
    assert 0.9 <= ways.count(Way.NONE) / 200 <= 0.985


def calibrated(labels: int, seed: int, patients: int = 150) -> Predictions:
    """Labels that follow the model's probabilities."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.normal(size=(patients, labels))
    names = tuple(map(str, range(patients)))
    return Predictions(
        labels=LabelSpace(kind=Kind.MULTILABEL, names=tuple(f"label {k}" for k in range(labels))),
        split="test",
        image_ids=names,
        groups=names,
        targets=(rng.random(z.shape) < 1 / (1 + np.exp(-z))).astype(np.float32),
        logits=z.astype(np.float32),
    )


def needed(predictions: Predictions) -> list[str]:
    """Labels that most tenths say need recalibration."""
    rows = recalibrations(predictions)
    return [r.label for r in rows if max(r.ways, key=lambda w: r.ways[w]) is not Way.NONE]


def test_a_right_label_that_chance_makes_look_wrong_is_not_named_among_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 5 % for each of 14 right labels, one was named in nearly half of all hospitals."""
    monkeypatch.setattr("medcnn.statistics.recalibration.SIZES", ())
    many = calibrated(14, 0)
    alone = np.where(np.arange(14) == 13, many.targets, np.float32(np.nan))
    assert needed(replace(many, targets=alone)) == ["label 13"]
    assert needed(many) == []


def test_a_label_that_is_clearly_wrong_is_named_among_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medcnn.statistics.recalibration.SIZES", ())
    many = calibrated(14, 0)
    wrong = np.where(np.arange(14) == 3, np.float32(1.5), np.float32(0))
    assert needed(replace(many, logits=many.logits + wrong)) == ["label 3"]


def test_a_label_that_another_output_tells_better_is_refitted() -> None:
    z, y = drawn(1000)
    other = 2 * y - 1 + np.random.default_rng(2).normal(size=1000)
    way, fitted = closed_test(z, np.stack([z, other], axis=1), y, np.ones(1000))
    assert way is Way.REFIT
    assert changed(way, fitted, z, np.stack([z, other], axis=1)).shape == (1000,)


def test_separated_classes_leave_finite_numbers() -> None:
    z = np.linspace(-3, 3, 60)
    _, fitted = closed_test(z, z[:, None], (z > 0).astype(float), np.ones(60))
    assert np.isfinite(fitted).all()


def test_recalibration_is_judged_on_other_cases_for_each_number_of_cases(simulate) -> None:
    shifted = simulate(Kind.BINARY, 400)
    shifted = replace(shifted, logits=shifted.logits * 3 + 2)
    rows = recalibrations(shifted)
    assert [r.cases for r in rows] == [50, 100, 200, 360]
    assert rows[-1].brier[1] < rows[-1].brier[0]
    assert rows[-1].ece[1] < rows[-1].ece[0]
    assert all(sum(r.ways.values()) == pytest.approx(1) for r in rows)
    assert rows[0].events < rows[-1].events
    # labels that follow nothing cannot be told, whatever was fitted to others
    noise = np.random.default_rng(3).normal(size=shifted.logits.shape).astype(np.float32)
    blind = recalibrations(replace(shifted, logits=3 * noise))[-1]
    share = float(shifted.targets.mean())
    assert blind.brier[1] == pytest.approx(share * (1 - share), abs=0.02)


def test_too_few_patients_with_the_label_are_not_tried(simulate) -> None:
    assert recalibrations(simulate(Kind.BINARY, 14)) == []
    # many images of few patients are few cases
    many = simulate(Kind.BINARY, 400)
    few = tuple(f"{int(y)}-{i % 9}" for i, y in enumerate(many.targets[:, 0]))
    assert recalibrations(many)
    assert recalibrations(replace(many, groups=few)) == []
    # of 30 patients, each with one image of five that shows it, 6 count as cases with it
    mixed = np.tile([1.0, 0, 0, 0, 0], 30).astype(np.float32)[:, None]
    of = tuple(str(i // 5) for i in range(150))
    assert recalibrations(replace(many.only(np.arange(150)), targets=mixed, groups=of)) == []


def test_a_refit_is_offered_by_patients_and_not_by_their_images() -> None:
    rng = np.random.default_rng(2)
    y = np.repeat([0.0, 1.0], 500)
    other = 4 * y - 2 + rng.normal(size=1000)
    outputs = np.stack([rng.normal(size=1000), other], axis=1)
    for patients, offered in ((60, True), (58, False)):
        way, _ = closed_test(outputs[:, 0], outputs, y, np.full(1000, patients / 1000))
        assert (way is Way.REFIT) is offered


def test_few_cases_with_many_outputs_do_not_call_for_a_refit() -> None:
    """14 coefficients on 50 cases were chosen in a third of hospitals that need nothing."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(60):
        z, y = drawn(50, seed)
        others = np.hstack([z[:, None], rng.normal(size=(50, 13))])
        found.append(closed_test(z, others, y, np.ones(50))[0])
    assert Way.REFIT not in found
    assert found.count(Way.NONE) >= 52
