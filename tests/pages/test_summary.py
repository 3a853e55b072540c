from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages.facts import Facts
from medcnn.pages.report import scored_facts
from medcnn.pages.summary import SUMMARY, Judged, summary
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


def judged(predictions, noun: str = "patient", resamples: int = 100) -> Judged:
    evaluation = evaluate(predictions, resamples=resamples)
    known = scored_facts(CLEAN, evaluation, predictions)
    return Judged(evaluation, replace(known, group_noun=noun))


def says(predictions, noun: str = "patient", resamples: int = 100) -> str:
    of = judged(predictions, noun, resamples)
    return " ".join(summary(of.scores, of.facts))


def test_a_binary_result_is_given_in_natural_frequencies(simulate) -> None:
    text = says(simulate(Kind.BINARY))
    assert text.startswith(
        "On 120 test images of 60 patients, which the model had never seen, the AUROC was 0."
    )
    assert "Of 100 images with melanoma, it finds" in text
    assert "Of 100 images without melanoma, it clears" in text


def test_validation_numbers_are_said_to_flatter(simulate) -> None:
    assert "optimistic" in says(simulate(Kind.BINARY, split="validation"))


def test_where_patients_are_not_known_none_are_counted(simulate) -> None:
    text = says(simulate(Kind.BINARY), "image")
    assert text.startswith("On 120 test images, which are in neither its training nor its valid")
    assert "but their patients are unknown and may be" in text


def test_exclusive_classes_are_held_against_the_most_frequent_one(simulate) -> None:
    predictions = simulate(Kind.MULTICLASS)
    text = says(predictions)
    share = round(100 * predictions.targets.mean(axis=0).max())
    assert f"the most frequent class, would be right for {share}." in text
    assert "Its weakest class is" in text
    assert text.startswith(
        "On 120 test images of 60 patients, which the model had never seen, it predicts the right "
        "class for "
    )
    assert ". The AUROC, averaged over the classes, was 0." in text


def test_all_images_of_a_set_are_no_split(simulate) -> None:
    assert says(simulate(Kind.BINARY, split="all")).startswith(
        "On 120 images of 60 patients the AUROC was"
    )


def test_of_findings_that_tie_none_is_called_the_weakest(simulate) -> None:
    predictions = simulate(Kind.MULTILABEL)
    text = says(replace(predictions, logits=np.where(predictions.targets == 1, 9.0, -9.0)))
    assert "By finding, it ranges" not in text
    assert "It is the same for every finding; for mass it is 1.00 (" in text
    grades = simulate(Kind.ORDINAL)
    right = replace(grades, logits=np.where(grades.targets == 1, 9.0, -9.0))
    assert "Its weakest" not in says(right)
    assert "It finds every grade equally often: of 100 images with mass, 100 (" in says(right)


def test_grades_are_given_with_their_kappa(simulate) -> None:
    assert "quadratic weighted kappa" in says(simulate(Kind.ORDINAL))


def test_findings_are_told_from_the_weakest_to_the_strongest(simulate) -> None:
    text = says(simulate(Kind.MULTILABEL))
    assert "By finding, it ranges from 0." in text


def test_images_that_could_not_be_read_are_counted(simulate) -> None:
    broken = replace(simulate(Kind.BINARY), unreadable=(("a", "truncated"),))
    assert "1 image could not be used and is not included in these numbers." in says(broken)


def test_a_split_without_labels_says_so(simulate) -> None:
    for kind in Kind:
        predictions = simulate(kind)
        nothing = replace(predictions, targets=np.full_like(predictions.targets, np.nan))
        assert "is not available" in says(nothing)


@pytest.mark.fault
@pytest.mark.parametrize("kind", Kind)
def test_a_classifier_that_always_says_the_same_is_said_not_to_discriminate(simulate, kind) -> None:
    """Row B21: chance is no strength, and no pair of images is says apart."""
    predictions = simulate(kind)
    text = says(replace(predictions, logits=np.ones_like(predictions.logits)))
    assert "so it does not discriminate" in text
    for boast in ("strongest", "higher probability", "weakest", "Given one image"):
        assert boast not in text
    if kind is not Kind.MULTILABEL:
        assert "It calls every image" in text


@pytest.mark.fault
def test_one_that_tells_classes_apart_but_decides_alike_is_said_to_decide_alike(simulate) -> None:
    """Row B21."""
    predictions = simulate(Kind.BINARY)
    always = says(replace(predictions, logits=predictions.logits + 9))
    assert "It calls every image melanoma" in always
    assert "does not discriminate" not in always
    assert "Of 100 images with melanoma" not in always
    assert "It calls every image clear" in says(replace(predictions, logits=predictions.logits - 9))


@pytest.mark.fault
def test_a_score_that_may_be_chance_is_said_to_be(simulate) -> None:
    """Row B21."""
    predictions = simulate(Kind.BINARY)
    draw = np.random.default_rng(3)
    random = replace(predictions, logits=draw.normal(size=predictions.logits.shape).astype("f4"))
    assert "these images do not show that it can distinguish the two" in says(random)
    assert "do not show" not in says(predictions)
    backwards = replace(predictions, logits=-predictions.logits)
    assert "worse than guessing" in says(backwards)


@pytest.mark.fault
def test_what_is_nearly_certain_is_not_called_certain(simulate) -> None:
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
    assert "Its strongest is a" in says(replace(predictions, logits=logits))


def _constant(p):
    return replace(p, logits=np.ones_like(p.logits))


def _backwards(p):
    return replace(p, logits=-p.logits)


def _noise(p):
    draw = np.random.default_rng(3)
    return replace(p, logits=draw.normal(size=p.logits.shape).astype(np.float32))


def _shifted(p):
    """Ranks stay, decisions are all the same."""
    columns = 1 if p.labels.exclusive else p.logits.shape[1]
    return replace(p, logits=p.logits + np.float32(9) * (np.arange(p.logits.shape[1]) < columns))


def _perfect(p):
    return replace(p, logits=np.where(p.targets == 1, 9.0, -9.0).astype(np.float32))


def _unknown(p):
    return replace(p, targets=np.full_like(p.targets, np.nan))


def _broken(p):
    return replace(p, unreadable=(("a", "truncated"), ("b", "truncated")))


CHANGES = (_constant, _backwards, _noise, _shifted, _perfect, _unknown, _broken)


@pytest.fixture(scope="module")
def cases(simulate) -> dict[tuple[str, str], Judged]:
    """Kind of label and what was done to the predictions -> what is known of them."""
    found = {
        (kind.value, change.__name__ if change else ""): judged(
            change(simulate(kind)) if change else simulate(kind), resamples=30
        )
        for kind in Kind
        for change in (None, *CHANGES)
    }
    differs = {"sections": frozenset({"subgroups"}), "alarms": ("age 80 or more: AUROC 0.6",)}
    in_groups = {
        (kind, "_in_groups"): replace(of, facts=replace(of.facts, **differs))
        for (kind, change), of in found.items()
        if not change
    }
    return found | in_groups


# By which change of the predictions each sentence must go, and by which it must come.
GOES = {
    "names": "_unknown",
    "auroc": "_constant",
    "mean auroc": "_constant",
    "pairs": "_constant",
    "by class": "_perfect",
    "by finding": "_perfect",
    "finds": "_unknown",
    "clears": "_unknown",
    "prevalence": "_unknown",
    "kappa": "_unknown",
}
COMES = {
    "no auroc": "_unknown",
    "indifferent": "_constant",
    "worse than chance": "_backwards",
    "may be chance": "_noise",
    "always": "_shifted",
    "equally often": "_perfect",
    "equal findings": "_perfect",
    "decided alike": "_shifted",
    "unused": "_broken",
    "gaps": "_in_groups",
}


def test_each_sentence_has_a_case_in_which_it_must_not_stand() -> None:
    assert set(SUMMARY) == set(GOES) | set(COMES)


@pytest.mark.fault
@pytest.mark.parametrize("name", SUMMARY)
def test_a_sentence_is_made_where_the_scores_bear_it_and_nowhere_else(cases, name: str) -> None:
    """Row A13: whatever model of whatever labels made the predictions."""
    kinds = {kind for (kind, _), of in cases.items() if SUMMARY[name].words(of)}
    assert kinds
    for kind in kinds:
        plain, changed = cases[kind, ""], cases[kind, GOES.get(name) or COMES[name]]
        assert bool(SUMMARY[name].words(plain)) is (name in GOES), kind
        assert bool(SUMMARY[name].words(changed)) is (name in COMES), kind


@pytest.mark.fault
def test_a_summary_is_made_of_these_sentences_and_of_no_other_words(cases) -> None:
    """Row A13."""
    for of in cases.values():
        first, *others = summary(of.scores, of.facts)
        made = [text for s in SUMMARY.values() if (text := s.words(of))]
        assert first.endswith(made[0])
        assert [text.lower() for text in others] == [text.lower() for text in made[1:]]
        for text in (first, *others):
            assert text[0].isupper() or text[0].isdigit()
            assert text.endswith(".")
            assert "  " not in text
            assert " nan" not in text
