"""The images of a patient read together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import Readout, ReadoutConfig, chosen_points
from medcnn.statistics.metrics.table import score
from medcnn.statistics.patients import (
    RULES,
    by_patient,
    combined,
    fit_patients,
    together,
    unit_targets,
)
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate

OF = np.array([0, 0, 0, 1])
nan = math.nan


def config(**more) -> ReadoutConfig:
    usual = {"calibration": "none", "operating_points": chosen_points("youden")}
    usual |= {"conformal": None, "refer_share": None, "unusual": None, "unit": None}
    return ReadoutConfig(**{**usual, **more})


def space(kind: Kind, *names: str) -> LabelSpace:
    return LabelSpace(kind=kind, names=names)


def test_probabilities_are_combined_as_the_rules_say() -> None:
    labels = space(Kind.MULTILABEL, "mass")
    p = np.array([[0.5], [0.2], [0.5], [0.3]])
    found = {rule: combined(labels, p, OF, 2, rule)[:, 0] for rule in RULES}
    assert found["mean"] == pytest.approx([0.4, 0.3])
    assert found["maximum"] == pytest.approx([0.5, 0.3])
    assert found["noisy_or"] == pytest.approx([1 - 0.5 * 0.8 * 0.5, 0.3])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", Kind)
def test_one_image_says_what_it_says_alone_whatever_the_rule(simulate, kind, rule) -> None:
    predictions = simulate(kind, images_per_group=1)
    found = together(predictions, "", rule)
    assert found.image_ids == predictions.groups
    assert np.array_equal(found.targets, predictions.targets)
    assert found.probabilities == pytest.approx(predictions.probabilities, abs=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.ORDINAL])
def test_probabilities_of_exclusive_classes_still_add_up_to_1(simulate, kind, rule) -> None:
    p = together(simulate(kind, images_per_group=4), "", rule).probabilities
    assert p.shape == (30, 3)
    assert p.sum(axis=1) == pytest.approx(1)
    assert p.min() >= 0


def test_the_grade_of_a_patient_is_the_highest_and_so_is_its_probability() -> None:
    labels = space(Kind.ORDINAL, "none", "mild", "severe")
    p = np.array([[0.9, 0.1, 0.0], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0]])
    found = combined(labels, p, OF, 2, "maximum")
    assert found == pytest.approx(np.array([[0.1, 0.1, 0.8], [1, 0, 0]]))
    targets = np.eye(3)[[0, 2, 1, 0]]
    assert unit_targets(labels, targets, OF, 2).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_finding_is_present_if_any_image_shows_it_and_unknown_if_none_was_assessed() -> None:
    labels = space(Kind.MULTILABEL, "a", "b", "c")
    targets = np.array([[0, nan, nan], [1, 0, nan], [nan, 0, nan], [0, 1, nan]])
    found = unit_targets(labels, targets, OF, 2)
    assert np.array_equal(found, [[1, 0, nan], [0, 1, nan]], equal_nan=True)


def test_a_class_that_differs_between_images_is_not_scored() -> None:
    labels = space(Kind.MULTICLASS, "x", "y")
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1.0]])
    found = unit_targets(labels, targets, OF, 2)
    assert np.array_equal(found, [[nan, nan], [0, 1]], equal_nan=True)


def hidden(seed: int, patients: int = 200, sign: float = 4.0) -> Predictions:
    """Patients of four images. Of a sick one, a single image shows it."""
    draw = np.random.default_rng(seed)
    sick = draw.random(patients) < 0.5
    logits = draw.normal(-2, 0.7, (patients, 4))
    logits[:, 0] += sign * sick
    return Predictions(
        labels=space(Kind.BINARY, "no", "yes"),
        split="validation",
        image_ids=tuple(map(str, range(4 * patients))),
        groups=tuple(f"p{i // 4}" for i in range(4 * patients)),
        targets=np.repeat(sick, 4)[:, None].astype(np.float32),
        logits=logits.reshape(-1, 1).astype(np.float32),
    )


def test_the_rule_is_the_best_on_validation_and_has_thresholds_of_its_own() -> None:
    validation, test = hidden(0), hidden(1)
    fitted = fit_patients(config(), validation)
    assert fitted.units == 200
    expected = {rule: score(together(validation, "", rule), "auroc") for rule in RULES}
    assert fitted.scores == pytest.approx(expected | {"number of images": 0.5})
    assert fitted.rule == max(expected, key=lambda r: expected[r]) != "mean"
    readout = Readout(patients=fitted)
    judged = by_patient(replace(test, readout=readout))
    assert evaluate(judged, resamples=10, names=["auroc"]).groups == 200
    found = evaluate(judged, resamples=10).find
    alone = evaluate(test, resamples=10).find
    assert found("auroc").value > 0.95 > alone("auroc").value
    assert found("sensitivity").value > 0.9
    assert found("specificity").value > 0.9
    assert Readout.from_json(readout.to_json()) == readout


def test_what_the_number_of_images_tells_alone_stands_beside_the_rules() -> None:
    """Sick patients have four images, healthy ones two: whoever counts them is always right."""
    whole = hidden(0)
    rows = [i for i in range(800) if whole.targets[i] == 1 or i % 4 < 2]
    fitted = fit_patients(config(), whole.only(rows))
    assert fitted.scores["number of images"] == 1
    assert fitted.rule in RULES


def test_an_attribute_divides_the_images_of_a_patient_who_stays_one_for_the_interval() -> None:
    validation = hidden(0)
    eyes = replace(validation, attributes={"eye": ("left", "left", "right", "right") * 200})
    fitted = fit_patients(config(unit="eye"), eyes)
    assert (fitted.unit, fitted.units) == ("eye", 400)
    judged = by_patient(replace(eyes, readout=Readout(patients=fitted)))
    assert judged.image_ids[:2] == ("p0 left", "p0 right")
    assert judged.groups[:2] == ("p0", "p0")
    assert by_patient(replace(validation, readout=Readout(patients=fitted))) is None


def test_a_patient_is_no_eye_of_another_whose_name_is_the_beginning_of_theirs() -> None:
    two = replace(hidden(0, patients=1), groups=("p 1", "p 1", "p", "p"))
    eyes = replace(two, attributes={"eye": ("", "", "1", "1")})
    assert together(eyes, "eye", "mean").groups == ("p 1", "p")


def test_there_is_no_rule_where_every_patient_has_one_image(simulate) -> None:
    assert fit_patients(config(), simulate(Kind.BINARY, images_per_group=1)) is None
    assert by_patient(simulate(Kind.BINARY)) is None


def test_without_two_classes_in_validation_the_mean_is_taken_and_no_score_claimed() -> None:
    validation = hidden(0)
    fitted = fit_patients(config(), replace(validation, targets=0 * validation.targets))
    assert (fitted.rule, fitted.scores) == ("mean", {})


def test_a_file_cannot_nest_patients_in_patients() -> None:
    stored = Readout(patients=fit_patients(config(), hidden(0))).to_json()
    stored["patients"]["readout"]["patients"] = stored["patients"]
    assert Readout.from_json(stored).patients.readout.patients is None
