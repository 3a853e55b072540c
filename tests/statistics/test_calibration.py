from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.calibration import CALIBRATIONS, fit_calibration
from medcnn.statistics.decisions import Readout, chosen_calibration
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError

BINARY = LabelSpace(kind=Kind.BINARY, names=("clear", "melanoma"))
GRADES = LabelSpace(kind=Kind.ORDINAL, names=("0", "1", "2", "3"))


def drawn(n: int, seed: int = 0) -> tuple[Any, Any]:
    """True logits [n, 1] and outcomes [n, 1] that were drawn from them."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(-1, 2, (n, 1))
    return logits, (draw.random((n, 1)) < expit(logits)).astype(float)


def drawn_grades(n: int, seed: int = 0) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1.5, (n, 4))
    p = np.exp(log_softmax(logits, axis=1))
    return logits, np.array([np.eye(4)[draw.choice(4, p=row)] for row in p])


def log_loss(p: Any, targets: Any) -> float:
    return float(-np.log((p * targets).sum(axis=1)).mean())


@pytest.mark.parametrize("fold", [0.4, 1.0, 3.0])
def test_a_network_that_is_too_sure_by_a_factor_gets_that_factor_back(fold: float) -> None:
    logits, targets = drawn(20_000)
    found = fit_calibration("temperature", BINARY, fold * logits, targets)
    assert found.numbers["slope"] == pytest.approx([1 / fold], rel=0.05)
    grades, truth = drawn_grades(20_000)
    found = fit_calibration("temperature", GRADES, fold * grades, truth)
    assert found.numbers["slope"] == pytest.approx([1 / fold] * 4, rel=0.05)


def test_slope_and_intercept_are_those_of_platt() -> None:
    logits, targets = drawn(300)
    found = fit_calibration("platt", BINARY, 3 * logits + 2, targets)
    oracle = _SigmoidCalibration().fit((3 * logits + 2)[:, 0], targets[:, 0])
    assert found.numbers["slope"] == pytest.approx([-oracle.a_], rel=1e-3)
    assert found.numbers["intercept"] == pytest.approx([-oracle.b_], rel=1e-3)


def test_the_isotonic_line_is_that_of_scikit_learn() -> None:
    logits, targets = drawn(400)
    found = fit_calibration("isotonic", BINARY, logits, targets)
    oracle = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    oracle.fit(expit(logits[:, 0]), targets[:, 0])
    new = np.linspace(-6, 6, 101)[:, None]
    assert found.probabilities(BINARY, new)[:, 0] == pytest.approx(
        oracle.predict(expit(new[:, 0])), abs=1e-6
    )


def test_what_confuses_two_classes_is_mended_by_dirichlet_and_not_by_temperature() -> None:
    logits, targets = drawn_grades(4_000)
    mixed = logits.copy()
    mixed[:, 1] += 0.8 * logits[:, 2]
    losses = {
        name: log_loss(
            fit_calibration(name, GRADES, mixed[:2000], targets[:2000]).probabilities(
                GRADES, mixed[2000:]
            ),
            targets[2000:],
        )
        for name in ("temperature", "platt", "dirichlet")
    }
    assert losses["dirichlet"] < losses["platt"] - 0.005 < losses["temperature"] - 0.03


@pytest.mark.parametrize("name", CALIBRATIONS)
@pytest.mark.parametrize("kind", Kind)
def test_every_map_gives_probabilities_and_lowers_the_log_loss_it_was_fitted_on(
    simulate, name: str, kind: Kind
) -> None:
    if kind not in CALIBRATIONS[name].kinds:
        pytest.skip("not made for this kind of label")
    predictions = simulate(kind, 300, missing=0.2)
    sure = replace(predictions, logits=4 * predictions.logits)
    found = fit_calibration(name, sure.labels, sure.logits, sure.targets)
    p = replace(sure, readout=Readout(calibration=found)).probabilities
    assert ((p >= 0) & (p <= 1)).all()
    if sure.labels.exclusive:
        assert p.sum(axis=1) == pytest.approx(1)
    known = ~np.isnan(sure.targets)
    t, before, after = sure.targets[known], sure.probabilities[known], p[known]

    def loss(q: Any) -> float:
        q = q.clip(1e-9, 1 - 1e-9)
        return float(
            -(t * np.log(q) + (0 if sure.labels.exclusive else 1 - t) * np.log(1 - q)).mean()
        )

    assert loss(after) < loss(before)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_label_that_shows_only_one_side_in_validation_stays_as_it_is(simulate, name: str) -> None:
    if Kind.MULTILABEL not in CALIBRATIONS[name].kinds:
        pytest.skip("not made for findings")
    predictions = simulate(Kind.MULTILABEL, 100)
    targets = predictions.targets.copy()
    targets[:, 0], targets[:, 1] = 0, np.nan
    found = fit_calibration(name, predictions.labels, predictions.logits, targets)
    after = found.probabilities(predictions.labels, predictions.logits)
    assert after[:, :2] == pytest.approx(predictions.probabilities[:, :2])


@pytest.mark.parametrize("name", ["temperature_per_class", "platt", "dirichlet"])
def test_a_class_that_validation_lacks_is_not_driven_to_zero(name: str) -> None:
    logits, targets = drawn_grades(2_000)
    here = targets[:, 3] == 0
    found = fit_calibration(name, GRADES, logits[here], targets[here])
    plain = fit_calibration("temperature", GRADES, logits[here], targets[here])
    assert (found.name, found.numbers) == (plain.name, plain.numbers)
    assert found.note == (
        f"{name} needs images of every class in validation, which has none of 3, so "
        "one temperature was fitted instead"
    )
    before, after = (
        p[:, 3].mean() for p in (softmax(logits, 1), found.probabilities(GRADES, logits))
    )
    assert after == pytest.approx(before, rel=0.2)
    assert Readout.from_json(Readout(calibration=found).to_json()).calibration == found
    assert fit_calibration(name, GRADES, logits, targets).note == ""


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_one_exclusive_class_alone_leaves_every_probability_as_it_is(name: str) -> None:
    logits, targets = drawn_grades(300)
    here = targets[:, 1] == 1
    found = fit_calibration(name, GRADES, logits[here], targets[here])
    assert found.probabilities(GRADES, logits) == pytest.approx(softmax(logits, axis=1))
    assert "only one class" in found.note


def test_labels_told_apart_without_fault_do_not_drive_the_numbers_to_infinity() -> None:
    targets = (np.arange(40) % 2).astype(float)[:, None]
    for name in CALIBRATIONS:
        if Kind.BINARY in CALIBRATIONS[name].kinds:
            p = fit_calibration(name, BINARY, 4 * targets - 2, targets).probabilities(
                BINARY, np.array([[-2.0], [2.0]])
            )
            assert np.isfinite(p).all()


def test_a_calibration_survives_the_table_of_predictions_and_leaves_the_logits(
    simulate, tmp_path
) -> None:
    predictions = simulate(Kind.MULTICLASS, 80)
    found = fit_calibration("isotonic", predictions.labels, predictions.logits, predictions.targets)
    calibrated = replace(predictions, readout=Readout(calibration=found))
    calibrated.write(tmp_path / "predictions_test.csv")
    again = Predictions.read(tmp_path / "predictions_test.csv")
    assert (again.logits == predictions.logits).all()
    assert (again.probabilities == calibrated.probabilities).all()
    assert (again.probabilities != predictions.probabilities).any()


def test_an_unknown_calibration_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'temperature'"):
        chosen_calibration("temprature")
