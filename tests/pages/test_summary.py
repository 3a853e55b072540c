from __future__ import annotations

from dataclasses import replace

import numpy as np

from medcnn.data.labels import Kind
from medcnn.pages.summary import summary
from medcnn.statistics.scores import evaluate


def told(predictions, noun: str = "patient") -> str:
    return " ".join(summary(evaluate(predictions, resamples=100), noun))


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
    assert told(simulate(Kind.BINARY), "image").startswith("On 120 test images, which")


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
    text = told(replace(predictions, logits=np.zeros_like(predictions.logits)))
    assert "By finding it goes" not in text
    assert "It is the same for every finding; for mass it is 0.50 (" in text
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
    assert "1 image could not be read and is in none of these numbers." in told(broken)


def test_a_split_without_labels_says_so(simulate) -> None:
    for kind in Kind:
        predictions = simulate(kind)
        nothing = replace(predictions, targets=np.full_like(predictions.targets, np.nan))
        assert "is not available" in told(nothing)
