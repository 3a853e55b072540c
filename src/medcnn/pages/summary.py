"""The result in plain words: what a doctor reads first, and often the only thing.

Shares are told as natural frequencies ("of 100 images ... it finds 87"), which people judge better
than percentages (Gigerenzer and Edwards 2003, BMJ 327).
"""

from __future__ import annotations

import math

from medcnn.data.labels import Kind
from medcnn.statistics.scores import Evaluation, Score

SEEN = {
    "test": "which the model had never seen",
    "validation": "which also chose the epoch and the thresholds, so that they flatter the model",
    "train": "on which the model was trained, so that they say little about new images",
}


def summary(evaluation: Evaluation, group_noun: str = "patient") -> list[str]:
    """Sentences about one split.

    Args:
        group_noun: what a group is: patient, lesion, or image where nothing better is known.
    """
    kind = evaluation.labels.kind
    told = {Kind.BINARY: _binary, Kind.MULTILABEL: _multilabel}.get(kind, _exclusive)
    first, *others = told(evaluation)
    sentences = [f"{_where(evaluation, group_noun)} {first}", *others]
    if evaluation.unreadable:
        n = evaluation.unreadable
        were = "image could not be read and is" if n == 1 else "images could not be read and are"
        sentences.append(f"{n} {were} in none of these numbers.")
    return sentences


def number(score: Score) -> str:
    """`0.91 (95 % interval 0.86 to 0.95)`, or why there is none."""
    if math.isnan(score.value):
        return score.note or "not available"
    if math.isnan(score.low):
        return f"{score.value:.2f} (95 % interval not available)"
    return f"{score.value:.2f} (95 % interval {score.low:.2f} to {score.high:.2f})"


def of_hundred(score: Score) -> str:
    """`87 (81 to 92)` of a share 0.87."""
    share = f"{100 * score.value:.0f}"
    if math.isnan(score.low):
        return f"{share} (interval not available)"
    return f"{share} ({100 * score.low:.0f} to {100 * score.high:.0f})"


def _rests_on(score: Score) -> str:
    """How few images a share rests on, where 100 would be a boast."""
    few = score.positives is not None and score.positives < 100
    return f", told from {_plural(score.positives or 0, 'image')} only" if few else ""


def _where(evaluation: Evaluation, group_noun: str) -> str:
    """`On 120 test images of 60 patients, which the model had never seen,`."""
    split = "" if evaluation.split == "all" else f"{evaluation.split} "
    images = _plural(evaluation.images, f"{split}image")
    of = f" of {_plural(evaluation.groups, group_noun)}" if group_noun != "image" else ""
    seen = SEEN.get(evaluation.split)
    return f"On {images}{of}{f', {seen},' if seen else ''}"


def _auroc(evaluation: Evaluation) -> str:
    """`the AUROC was 0.91 (...)` with what that means, or why there is none; no full stop."""
    score = evaluation.find("auroc")
    if evaluation.labels.kind is Kind.BINARY:
        return f"the AUROC {'is' if math.isnan(score.value) else 'was'} {number(score)}"
    mean = f"the AUROC, averaged over the {_nouns(evaluation)},"
    if math.isnan(score.value):
        return f"{mean} is {number(score)}"
    return (
        f"{mean} was {number(score)}: of 100 pairs of one image with the {_noun(evaluation)} in "
        "question and one without, the one with it gets the higher probability of it in "
        f"{100 * score.value:.0f}; guessing gives 50"
    )


def _binary(evaluation: Evaluation) -> list[str]:
    name = evaluation.labels.names[1]
    auroc, brier = evaluation.find("auroc"), evaluation.find("brier")
    sentences = [f"{_auroc(evaluation)}."]
    if not math.isnan(auroc.value):
        sentences.append(
            f"Shown one image with {name} and one without, it gives the one with {name} the higher "
            f"probability {100 * auroc.value:.0f} times of 100."
        )
    found, cleared = evaluation.find("sensitivity"), evaluation.find("specificity")
    if not math.isnan(found.value):
        sentences.append(f"Of 100 images with {name} it finds {of_hundred(found)}.")
    if not math.isnan(cleared.value):
        sentences.append(f"Of 100 images without {name} it clears {of_hundred(cleared)}.")
    if brier.count and brier.positives:
        sentences.append(
            f"Of these images {100 * brier.positives / brier.count:.0f} in 100 have {name}; "
            "where it is rarer, more of the alarms are false."
        )
    return sentences


def _exclusive(evaluation: Evaluation) -> list[str]:
    noun = _noun(evaluation)
    right = evaluation.find("accuracy")
    found = _defined(evaluation, "sensitivity")
    auroc = f"{_auroc(evaluation)}."
    sentences = [auroc]
    if not math.isnan(right.value):
        most = max(found, key=lambda score: score.positives or 0)
        share = 100 * (most.positives or 0) / most.count
        sentences = [
            f"it names the right {noun} for {of_hundred(right)} of 100 images; always answering "
            f"{most.label}, the most frequent {noun}, would be right for {share:.0f}.",
            auroc[0].upper() + auroc[1:],
        ]
    if len({score.value for score in found}) == 1 < len(found):
        sentences.append(
            f"It finds every {noun} equally often: of 100 images with {found[0].label} "
            f"{of_hundred(found[0])}{_rests_on(found[0])}."
        )
    elif len(found) > 1:
        weakest, strongest = min(found, key=_value), max(found, key=_value)
        sentences.append(
            f"Its weakest {noun} is {weakest.label}: of 100 such images it finds "
            f"{of_hundred(weakest)}{_rests_on(weakest)}. Its strongest is {strongest.label}: "
            f"{of_hundred(strongest)}{_rests_on(strongest)}."
        )
    if evaluation.labels.kind is Kind.ORDINAL:
        kappa = evaluation.find("quadratic_weighted_kappa")
        sentences.append(
            "Agreement with the true grade beyond chance (quadratic weighted kappa; 0 is chance, "
            f"1 is perfect): {number(kappa)}."
        )
    return sentences


def _multilabel(evaluation: Evaluation) -> list[str]:
    ranked = _defined(evaluation, "auroc")
    sentences = [f"{_auroc(evaluation)}."]
    if len({score.value for score in ranked}) == 1 < len(ranked):
        sentences.append(
            f"It is the same for every finding; for {ranked[0].label} it is {number(ranked[0])}."
        )
    elif len(ranked) > 1:
        weakest, strongest = min(ranked, key=_value), max(ranked, key=_value)
        sentences.append(
            f"By finding it goes from {number(weakest)} for {weakest.label} "
            f"to {number(strongest)} for {strongest.label}."
        )
    for score in ranked if len(ranked) == 1 else sorted(ranked, key=_value)[:1]:
        found = evaluation.find("sensitivity", score.label)
        cleared = evaluation.find("specificity", score.label)
        sentences.append(
            f"Of 100 images with {score.label} it finds {of_hundred(found)}; "
            f"of 100 without it clears {of_hundred(cleared)}."
        )
    return sentences


def _defined(evaluation: Evaluation, name: str) -> list[Score]:
    """Scores of the single labels that have a value."""
    own = [evaluation.find(name, label) for label in evaluation.labels.outputs]
    return [score for score in own if not math.isnan(score.value)]


def _value(score: Score) -> float:
    return score.value


def _noun(evaluation: Evaluation) -> str:
    nouns = {Kind.ORDINAL: "grade", Kind.MULTILABEL: "finding"}
    return nouns.get(evaluation.labels.kind, "class")


def _nouns(evaluation: Evaluation) -> str:
    noun = _noun(evaluation)
    return f"{noun}es" if noun == "class" else f"{noun}s"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
