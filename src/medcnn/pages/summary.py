"""The result in plain words: what a doctor reads first, and often the only thing.

Shares are told as natural frequencies ("of 100 images ... it finds 87"), which people judge better
than percentages (Gigerenzer and Edwards 2003, BMJ 327). Every sentence follows from the scores of
this split and from `Facts`; where they do not bear it, it is not made.
"""

from __future__ import annotations

import math

from medcnn.data.labels import Kind
from medcnn.pages import digits
from medcnn.pages.digits import because, plural
from medcnn.pages.facts import Facts
from medcnn.pages.statements import where_from
from medcnn.statistics.scores import Evaluation, Score

CHANCE = 0.5
ALL_EQUAL = "all probabilities are equal"


def summary(evaluation: Evaluation, facts: Facts) -> list[str]:
    """Sentences about one split."""
    kind = evaluation.labels.kind
    told = {Kind.BINARY: _binary, Kind.MULTILABEL: _multilabel}.get(kind, _exclusive)
    first, *others = told(evaluation)
    sentences = [f"{_where(evaluation, facts)} {first}", *others]
    if evaluation.unreadable:
        n = evaluation.unreadable
        were = "image could not be used and is" if n == 1 else "images could not be used and are"
        sentences.append(f"{n:,} {were} in none of these numbers.")
    return [because(sentence, facts.group_noun) for sentence in sentences]


def number(score: Score) -> str:
    """`0.91 (95 % interval 0.86 to 0.95)`, or why there is none."""
    if math.isnan(score.value):
        return score.note or "not available"
    value = digits.number(score.value, 2)
    if math.isnan(score.low):
        return f"{value} (95 % interval not available)"
    return f"{value} (95 % interval {digits.span(score.low, score.high, 2)})"


def of_hundred(score: Score) -> str:
    """`87 (81 to 92)` of a share 0.87."""
    share = digits.of_hundred(score.value)
    if math.isnan(score.low):
        return f"{share} (interval not available)"
    return f"{share} ({digits.of_hundred(score.low)} to {digits.of_hundred(score.high)})"


def _rests_on(score: Score) -> str:
    """How few images a share rests on, where 100 would be a boast."""
    few = score.positives is not None and score.positives < 100
    return f", based on only {plural(score.positives or 0, 'image')}" if few else ""


def _where(evaluation: Evaluation, facts: Facts) -> str:
    """`On 120 test images of 60 patients, which the model had never seen,`."""
    split = "" if evaluation.split == "all" else f"{evaluation.split} "
    images = plural(evaluation.images, f"{split}image")
    of = f" of {plural(evaluation.groups, facts.group_noun)}" if facts.grouped else ""
    seen = where_from(facts)
    return f"On {images}{of}{f', {seen},' if seen else ''}"


def _indifferent(score: Score) -> bool:
    """Every image gets the same probability."""
    return score.value == CHANCE and ALL_EQUAL in score.note


def _guessing(evaluation: Evaluation, score: Score) -> str:
    """That an AUROC may be chance, or is worse, in a sentence; else nothing."""
    apart = {Kind.BINARY: "the two", Kind.MULTILABEL: "images with a finding from those without"}
    what = apart.get(evaluation.labels.kind, f"the {_nouns(evaluation)}")
    if math.isnan(score.low) or score.low > CHANCE:
        return ""
    if score.high < CHANCE:
        return "That is worse than guessing, which gives 0.5."
    tell = f"can tell {what}{'' if 'from' in what else ' apart'}"
    return f"The interval holds 0.5, what guessing gives: these images do not show that it {tell}."


def _auroc(evaluation: Evaluation) -> str:
    """`the AUROC was 0.91 (...)` with what that means, or why there is none; no full stop."""
    score = evaluation.find("auroc")
    if _indifferent(score):
        return (
            "the model gives every image the same probability, so it does not discriminate: the "
            "AUROC is 0.5, what guessing gives"
        )
    if evaluation.labels.kind is Kind.BINARY:
        return f"the AUROC {'is' if math.isnan(score.value) else 'was'} {number(score)}"
    mean = f"the AUROC, averaged over the {_nouns(evaluation)},"
    if math.isnan(score.value):
        return f"{mean} is {number(score)}"
    return (
        f"{mean} was {number(score)}: of 100 pairs of one image with the {_noun(evaluation)} in "
        "question and one without, the one with it gets the higher probability of it in "
        f"{digits.of_hundred(score.value)}; guessing gives 50"
    )


def _always(evaluation: Evaluation) -> str:
    """The one answer that every image gets, or nothing: it finds all that have it and clears none
    of the others."""
    names = evaluation.labels.names
    if evaluation.labels.kind is Kind.BINARY:
        found, cleared = evaluation.find("sensitivity"), evaluation.find("specificity")
        ends = (found.value, cleared.value)
        return {(1.0, 0.0): names[1], (0.0, 1.0): names[0]}.get(ends, "")
    for name in evaluation.labels.outputs:
        own, others = (evaluation.find(s, name).value for s in ("sensitivity", "specificity"))
        if own == 1 and others == 0:
            return name
    return ""


def _binary(evaluation: Evaluation) -> list[str]:
    name = evaluation.labels.names[1]
    auroc, brier = evaluation.find("auroc"), evaluation.find("brier")
    sentences = [f"{_auroc(evaluation)}."]
    if not math.isnan(auroc.value) and not _indifferent(auroc):
        sentences.append(
            f"Shown one image with {name} and one without, it gives the one with {name} the higher "
            f"probability {digits.of_hundred(auroc.value)} times of 100."
        )
        sentences.append(_guessing(evaluation, auroc))
    found, cleared = evaluation.find("sensitivity"), evaluation.find("specificity")
    if always := _always(evaluation):
        sentences.append(f"It calls every image {always}, so its decisions say nothing.")
    else:
        if not math.isnan(found.value):
            sentences.append(f"Of 100 images with {name} it finds {of_hundred(found)}.")
        if not math.isnan(cleared.value):
            sentences.append(f"Of 100 images without {name} it clears {of_hundred(cleared)}.")
    if brier.count and brier.positives:
        sentences.append(
            f"Of these images {digits.of_hundred(brier.positives / brier.count)} in 100 have "
            f"{name}; where it is rarer, more of the alarms are false."
        )
    return list(filter(None, sentences))


def _exclusive(evaluation: Evaluation) -> list[str]:
    noun = _noun(evaluation)
    right = evaluation.find("accuracy")
    found = _defined(evaluation, "sensitivity")
    auroc = f"{_auroc(evaluation)}."
    sentences = [auroc]
    if not math.isnan(right.value):
        often = max(score.positives or 0 for score in found)
        most = [str(score.label) for score in found if score.positives == often]
        share = digits.of_hundred(often / found[0].count)
        which = (
            f"the most frequent {noun}"
            if len(most) == 1
            else f"one of the most frequent {_nouns(evaluation)}"
        )
        sentences = [
            f"it names the right {noun} for {of_hundred(right)} of 100 images; always answering "
            f"{most[0]}, {which}, would be right for {share}.",
            auroc[0].upper() + auroc[1:],
        ]
    sentences.append(_guessing(evaluation, evaluation.find("auroc")))
    sentences.append(_by_class(evaluation, found))
    if evaluation.labels.kind is Kind.ORDINAL:
        kappa = evaluation.find("quadratic_weighted_kappa")
        sentences.append(
            "Agreement with the true grade beyond chance (quadratic weighted kappa; 0 is chance, "
            f"1 is perfect): {number(kappa)}."
        )
    return list(filter(None, sentences))


def _by_class(evaluation: Evaluation, found: list[Score]) -> str:
    noun = _noun(evaluation)
    if always := _always(evaluation):
        return f"It calls every image {always}, so its decisions say nothing."
    if len(found) < 2:
        return ""
    values = [score.value for score in found]
    if len(set(values)) == 1:
        return (
            f"It finds every {noun} equally often: of 100 images with {found[0].label} "
            f"{of_hundred(found[0])}{_rests_on(found[0])}."
        )
    weakest = [score for score in found if score.value == min(values)]
    strongest = [score for score in found if score.value == max(values)]
    worst, best = weakest[0], strongest[0]
    return (
        f"Its weakest {noun} is {worst.label}{_also(weakest)}: of 100 such images it finds "
        f"{of_hundred(worst)}{_rests_on(worst)}. Its strongest is {best.label}{_also(strongest)}: "
        f"{of_hundred(best)}{_rests_on(best)}."
    )


def _also(tied: list[Score]) -> str:
    """Who shares the place of the first."""
    names = [str(score.label) for score in tied[1:]]
    if len(names) > 2:
        return f", level with {len(names)} others"
    return f", level with {' and '.join(names)}" if names else ""


def _multilabel(evaluation: Evaluation) -> list[str]:
    ranked = _defined(evaluation, "auroc")
    sentences = [f"{_auroc(evaluation)}."]
    if ranked and all(map(_indifferent, ranked)):
        return sentences
    sentences.append(_guessing(evaluation, evaluation.find("auroc")))
    values = [score.value for score in ranked]
    if len(set(values)) == 1 < len(ranked):
        sentences.append(
            f"It is the same for every finding; for {ranked[0].label} it is {number(ranked[0])}."
        )
    elif len(ranked) > 1:
        weakest = [score for score in ranked if score.value == min(values)]
        strongest = [score for score in ranked if score.value == max(values)]
        sentences.append(
            f"By finding it goes from {number(weakest[0])} for {weakest[0].label}{_also(weakest)} "
            f"to {number(strongest[0])} for {strongest[0].label}{_also(strongest)}."
        )
    for score in ranked if len(ranked) == 1 else sorted(ranked, key=_value)[:1]:
        found = evaluation.find("sensitivity", score.label)
        cleared = evaluation.find("specificity", score.label)
        if (found.value, cleared.value) in ((1.0, 0.0), (0.0, 1.0)):
            all_of = "every image" if found.value == 1 else "no image"
            sentences.append(f"It finds {score.label} in {all_of}, whatever the image shows.")
            continue
        sentences.append(
            f"Of 100 images with {score.label} it finds {of_hundred(found)}; "
            f"of 100 without it clears {of_hundred(cleared)}."
        )
    return list(filter(None, sentences))


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
