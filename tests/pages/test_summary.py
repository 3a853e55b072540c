from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages.facts import Facts, facts_of
from medcnn.pages.summary import summary
from medcnn.statistics.scores import evaluate

CLEAN = {
    "best_epoch": 3,
    "audit": {"warned": []},
    "config": {
        "audit": {"allow": [], "copies": True},
        "model": {"backbone": "resnet18", "weights": "auto"},
    },
    "report": {"group_noun": "patient", "leaks": 0, "history": [{}, {}]},
}


def told(predictions, noun: str = "patient", resamples: int = 100) -> str:
    known = facts_of(CLEAN, predictions.split) | {"group_noun": noun}
    evaluation = evaluate(predictions, resamples=resamples)
    return " ".join(summary(evaluation, Facts(**known)))


def test_a_binary_result_is_told_in_natural_frequencies(simulate) -> None:
    text = told(simulate(Kind.BINARY))
    assert text.startswith(
        "On 120 test images of 60 patients, which the model had never seen, the AUROC was 0."
    )
    assert "Of 100 images with melanoma it finds" in text
    assert "Of 100 images without melanoma it clears" in text


def test_validation_numbers_are_said_to_flatter(simulate) -> None:
    assert "flatter the model" in told(simulate(Kind.BINARY, split="validation"))


def test_where_patients_are_not_known_none_are_counted(simulate) -> None:
    text = told(simulate(Kind.BINARY), "image")
    assert text.startswith("On 120 test images, which are in neither its training nor its valid")
    assert "whether their patients are is not known" in text


def test_exclusive_classes_are_held_against_the_most_frequent_one(simulate) -> None:
    predictions = simulate(Kind.MULTICLASS)
    text = told(predictions)
    share = round(100 * predictions.targets.mean(axis=0).max())
    assert f"the most frequent class, would be right for {share}." in text
    assert "Its weakest class is" in text
    assert text.startswith(
        "On 120 test images of 60 patients, which the model had never seen, it names the right "
        "class for "
    )
    assert ". The AUROC, averaged over the classes, was 0." in text


def test_all_images_of_a_set_are_no_split(simulate) -> None:
    assert told(simulate(Kind.BINARY, split="all")).startswith(
        "On 120 images of 60 patients the AUROC was"
    )


def test_of_findings_that_tie_none_is_called_the_weakest(simulate) -> None:
    predictions = simulate(Kind.MULTILABEL)
    text = told(replace(predictions, logits=np.where(predictions.targets == 1, 9.0, -9.0)))
    assert "By finding it goes" not in text
    assert "It is the same for every finding; for mass it is 1.00 (" in text
    grades = simulate(Kind.ORDINAL)
    right = replace(grades, logits=np.where(grades.targets == 1, 9.0, -9.0))
    assert "Its weakest" not in told(right)
    assert "It finds every grade equally often: of 100 images with mass 100 (" in told(right)


def test_grades_are_told_with_their_kappa(simulate) -> None:
    assert "quadratic weighted kappa" in told(simulate(Kind.ORDINAL))


def test_findings_are_told_from_the_weakest_to_the_strongest(simulate) -> None:
    text = told(simulate(Kind.MULTILABEL))
    assert "By finding it goes from 0." in text


def test_images_that_could_not_be_read_are_counted(simulate) -> None:
    broken = replace(simulate(Kind.BINARY), unreadable=(("a", "truncated"),))
    assert "1 image could not be used and is in none of these numbers." in told(broken)


def test_a_split_without_labels_says_so(simulate) -> None:
    for kind in Kind:
        predictions = simulate(kind)
        nothing = replace(predictions, targets=np.full_like(predictions.targets, np.nan))
        assert "is not available" in told(nothing)


@pytest.mark.fault
@pytest.mark.parametrize("kind", Kind)
def test_a_classifier_that_always_says_the_same_is_said_not_to_discriminate(simulate, kind) -> None:
    """Row B21: chance is no strength, and no pair of images is told apart."""
    predictions = simulate(kind)
    text = told(replace(predictions, logits=np.ones_like(predictions.logits)))
    assert "so it does not discriminate" in text
    for boast in ("strongest", "higher probability", "weakest", "Shown one image"):
        assert boast not in text
    if kind is not Kind.MULTILABEL:
        assert "It calls every image" in text


@pytest.mark.fault
def test_one_that_tells_classes_apart_but_decides_alike_is_said_to_decide_alike(simulate) -> None:
    """Row B21."""
    predictions = simulate(Kind.BINARY)
    always = told(replace(predictions, logits=predictions.logits + 9))
    assert "It calls every image melanoma" in always
    assert "does not discriminate" not in always
    assert "Of 100 images with melanoma" not in always
    assert "It calls every image clear" in told(replace(predictions, logits=predictions.logits - 9))


@pytest.mark.fault
def test_a_score_that_may_be_chance_is_said_to_be(simulate) -> None:
    """Row B21."""
    predictions = simulate(Kind.BINARY)
    draw = np.random.default_rng(3)
    random = replace(predictions, logits=draw.normal(size=predictions.logits.shape).astype("f4"))
    assert "these images do not show that it can tell the two apart" in told(random)
    assert "do not show" not in told(predictions)
    backwards = replace(predictions, logits=-predictions.logits)
    assert "worse than guessing" in told(backwards)


@pytest.mark.fault
def test_what_is_nearly_certain_is_not_told_as_certain(simulate) -> None:
    """Row B21: an AUROC of 0.997 is not 1."""
    predictions = simulate(Kind.BINARY, 400)
    logits = predictions.logits + 2 * predictions.targets
    evaluation = evaluate(replace(predictions, logits=logits.astype("f4")), resamples=50)
    auroc = evaluation.find("auroc").value
    assert 0.995 < auroc < 1
    text = " ".join(summary(evaluation, Facts(split="test")))
    assert "the AUROC was 0.99" in text
    assert "100 times of 100" not in text


def test_classes_that_share_the_last_place_are_both_named(simulate) -> None:
    predictions = simulate(Kind.MULTICLASS, names=("a", "b", "c"))
    logits = np.where(predictions.targets == 1, 9.0, -9.0).astype("f4")
    logits[:, 0] = 99  # always a: b and c are never found
    logits[np.flatnonzero(predictions.targets[:, 1])[0]] = (-9, 9, -9)
    logits[np.flatnonzero(predictions.targets[:, 2])[0]] = (-9, -9, 9)
    assert "Its strongest is a" in told(replace(predictions, logits=logits))
