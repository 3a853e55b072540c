"""The result in plain words: what a doctor reads first, and often the only thing.

Shares are natural frequencies ("of 100 images ... it finds 87"), which people judge better than
percentages (Gigerenzer and Edwards 2003, BMJ 327). Every sentence is in `SUMMARY`, with its
condition on the scores of this split and on `Facts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from medcnn.data.labels import Kind
from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, estimate, hundredths, of_hundred, whose
from medcnn.pages.seen import where_from
from medcnn.pages.statements import STATEMENTS
from medcnn.statistics.evaluation import Evaluation, Score

CHANCE = 0.5
NOUNS = {Kind.ORDINAL: "grade", Kind.MULTILABEL: "finding"}


@dataclass(frozen=True, slots=True)
class Judged:
    """The scores of a split, and other facts."""

    scores: Evaluation
    facts: Facts

    @property
    def kind(self) -> Kind:
        return self.scores.labels.kind

    @property
    def noun(self) -> str:
        return NOUNS.get(self.kind, "class")

    @property
    def nouns(self) -> str:
        return counted(2, self.noun).removeprefix("2 ")

    @property
    def mean(self) -> str:
        """`the AUROC`, and the labels it is averaged over."""
        return (
            "the AUROC"
            if self.kind is Kind.BINARY
            else f"the AUROC, averaged over the {self.nouns},"
        )

    @property
    def exclusive(self) -> bool:
        return self.scores.labels.exclusive

    @property
    def auroc(self) -> Score:
        return self.scores.find("auroc")

    @property
    def indifferent(self) -> bool:
        """Every image gets the same probabilities."""
        return self.auroc.value == CHANCE and set(self.scores.labels.outputs) <= self.facts.flat

    @property
    def always(self) -> str:
        """The one answer that every image gets, or "": the model finds all images of that class and
        clears none of the others."""
        names = self.scores.labels.names
        if self.kind is Kind.BINARY:
            ends = (self.value("sensitivity"), self.value("specificity"))
            return {(1.0, 0.0): names[1], (0.0, 1.0): names[0]}.get(ends, "")
        of = self.scores.labels.outputs if self.exclusive else ()
        found = {n: (self.value("sensitivity", n), self.value("specificity", n)) for n in of}
        return next((name for name, ends in found.items() if ends == (1, 0)), "")

    def value(self, score: str, label: str | None = None) -> float:
        return self.scores.find(score, label).value

    def ranked(self, score: str) -> list[Score]:
        """The scores of single labels that are defined, from weakest to strongest."""
        own = [self.scores.find(score, label) for label in self.scores.labels.outputs]
        return sorted((s for s in own if not math.isnan(s.value)), key=lambda s: s.value)


def summary(evaluation: Evaluation, facts: Facts) -> list[str]:
    """Sentences about one split."""
    judged = Judged(evaluation, facts)
    first, *others = filter(None, (statement.words(judged) for statement in SUMMARY.values()))
    return [f"{_where(judged)} {first}", *(text[0].upper() + text[1:] for text in others)]


def _where(j: Judged) -> str:
    """`On 120 test images of 60 patients, which the model had never seen,`."""
    split = "" if j.scores.split == "all" else f"{j.scores.split} "
    of = f" of {counted(j.scores.groups, j.facts.group_noun)}" if j.facts.grouped else ""
    seen = where_from(j.facts)
    return f"On {counted(j.scores.images, f'{split}image')}{of}{f', {seen},' if seen else ''}"


def _words(score: Score) -> str:
    """`0.91 (95 % interval 0.86 to 0.95)`."""
    value, interval = estimate(score.value, score.low, score.high, hundredths)
    return f"{value} (95 % interval {interval or 'not available'})"


def _share(score: Score) -> str:
    """`87 (81 to 92)` for a share of 0.87."""
    value, interval = estimate(score.value, score.low, score.high, of_hundred)
    return f"{value} ({interval or 'interval not available'})"


def _share_and_count(score: Score) -> str:
    """With the number of images, if it is far below 100."""
    few = score.positives is not None and score.positives < 100
    rests = f", based on only {counted(score.positives or 0, 'image')}" if few else ""
    return _share(score) + rests


def _place(ranked: Sequence[Score], end: int) -> tuple[Score, str]:
    """The first of those that share the last or first place, and all their names."""
    first, *tied = (s for s in ranked if s.value == ranked[end].value)
    names = [str(s.label) for s in tied]
    also = f"{len(names)} others" if len(names) > 2 else " and ".join(names)
    return first, f"{first.label}, level with {also}" if names else str(first.label)


def _names(j: Judged) -> str:
    found = [j.scores.find("sensitivity", label) for label in j.scores.labels.outputs]
    often = max(s.positives or 0 for s in found)
    most = [s for s in found if s.positives == often]
    one = f"the most frequent {j.noun}"
    which = one if len(most) == 1 else f"one of the most frequent {j.nouns}"
    right = _share(j.scores.find("accuracy"))
    return (
        f"it predicts the right {j.noun} for {right} of 100 images; always answering "
        f"{most[0].label}, {which}, would be right for {of_hundred(often / most[0].count)}."
    )


def _mean_auroc(j: Judged) -> str:
    return (
        f"{j.mean} was {_words(j.auroc)}: in 100 pairs of one image with the {j.noun} in question "
        "and one without, the image with it gets the higher probability in "
        f"{of_hundred(j.auroc.value)}; guessing gives 50."
    )


def _may_be_chance(j: Judged) -> str:
    apart = {Kind.BINARY: "the two", Kind.MULTILABEL: "images with and without a finding"}
    what = apart.get(j.kind, f"the {j.nouns}")
    return (
        "The interval includes 0.5, the result of guessing: these images do not show that it can "
        f"distinguish {what}."
    )


def _extremes(j: Judged) -> str:
    (last, weakest), (first, strongest) = (_place(j.ranked("sensitivity"), end) for end in (0, -1))
    return (
        f"Its weakest {j.noun} is {weakest}: of 100 such images, it finds "
        f"{_share_and_count(last)}. Its strongest is {strongest}: {_share_and_count(first)}."
    )


def _findings(j: Judged) -> str:
    (last, weakest), (first, strongest) = (_place(j.ranked("auroc"), end) for end in (0, -1))
    lowest, highest = _words(last), _words(first)
    return f"By finding, it ranges from {lowest} for {weakest} to {highest} for {strongest}."


def _asked(j: Judged) -> tuple[str, Score, Score]:
    """The yes-or-no question for natural frequencies, with sensitivity and specificity: of several
    findings, the one with the lowest AUROC; "" if there is none."""
    ranked = j.ranked("auroc") if j.kind is Kind.MULTILABEL and not j.indifferent else []
    label = ranked[0].label if ranked else None
    name = j.scores.labels.names[1] if j.kind is Kind.BINARY else label or ""
    return name, j.scores.find("sensitivity", label), j.scores.find("specificity", label)


def _same_for_all(j: Judged) -> str:
    name, found, _ = _asked(j)
    which = "every image" if found.value == 1 else "no image"
    return f"It finds {name} in {which}, whatever the image shows."


def _decided_alike(j: Judged) -> bool:
    name, found, cleared = _asked(j)
    return bool(name) and (found.value, cleared.value) in ((1.0, 0.0), (0.0, 1.0))


def _unused(j: Judged) -> str:
    n = j.scores.unreadable
    were = "image could not be used and is" if n == 1 else "images could not be used and are"
    return f"{n:,} {were} not included in these numbers."


def _prevalence(j: Judged) -> str:
    brier = j.scores.find("brier")
    return (
        f"Of these images, {of_hundred((brier.positives or 0) / brier.count)} in 100 have "
        f"{_asked(j)[0]}; if it is rarer, more alarms are false."
    )


def _equally_often(j: Judged) -> str:
    first = j.ranked("sensitivity")[0]
    how_often = f"of 100 images with {first.label}, {_share_and_count(first)}"
    return f"It finds every {j.noun} equally often: {how_often}."


def _equal_findings(j: Judged) -> str:
    first = j.ranked("auroc")[0]
    return f"It is the same for every finding; for {first.label} it is {_words(first)}."


def _several(j: Judged, score: str, tied: bool) -> bool:
    """Whether several labels have the score, with equal (`tied`) or different values."""
    ranked = j.ranked(score)
    return len(ranked) > 1 and (ranked[0].value == ranked[-1].value) is tied


def _has_auroc(j: Judged) -> bool:
    return not math.isnan(j.auroc.value) and not j.indifferent


def _by_class(j: Judged, tied: bool) -> bool:
    return j.exclusive and not j.always and _several(j, "sensitivity", tied)


def _by_finding(j: Judged, tied: bool) -> bool:
    return j.kind is Kind.MULTILABEL and not j.indifferent and _several(j, "auroc", tied)


def _asks(j: Judged) -> bool:
    return bool(_asked(j)[0]) and not j.always and not _decided_alike(j)


SUMMARY: dict[str, Statement[Judged]] = {
    "names": Statement(_names, lambda j: j.exclusive and not math.isnan(j.value("accuracy"))),
    "no auroc": Statement(
        lambda j: f"{j.mean} is {whose(j.auroc.note or 'not available', j.facts.group_noun)}.",
        lambda j: math.isnan(j.auroc.value),
    ),
    "indifferent": Statement(
        "the model gives every image the same probability, so it does not discriminate: the "
        "AUROC is 0.5, as for guessing.",
        lambda j: j.indifferent,
    ),
    "auroc": Statement(
        lambda j: f"the AUROC was {_words(j.auroc)}.",
        lambda j: j.kind is Kind.BINARY and _has_auroc(j),
    ),
    "mean auroc": Statement(_mean_auroc, lambda j: j.kind is not Kind.BINARY and _has_auroc(j)),
    "pairs": Statement(
        lambda j: (
            f"Given one image with {_asked(j)[0]} and one without, it gives the one with "
            f"{_asked(j)[0]} the higher probability {of_hundred(j.auroc.value)} times in 100."
        ),
        lambda j: j.kind is Kind.BINARY and _has_auroc(j),
    ),
    "worse than chance": Statement(
        "This is worse than guessing, which gives 0.5.", lambda j: j.auroc.high < CHANCE
    ),
    "may be chance": Statement(_may_be_chance, lambda j: j.auroc.low <= CHANCE <= j.auroc.high),
    "always": Statement(
        lambda j: f"It calls every image {j.always}, so its decisions are useless.",
        lambda j: bool(j.always),
    ),
    "equally often": Statement(_equally_often, partial(_by_class, tied=True)),
    "by class": Statement(_extremes, partial(_by_class, tied=False)),
    "equal findings": Statement(_equal_findings, partial(_by_finding, tied=True)),
    "by finding": Statement(_findings, partial(_by_finding, tied=False)),
    "decided alike": Statement(
        _same_for_all, lambda j: j.kind is Kind.MULTILABEL and _decided_alike(j)
    ),
    "finds": Statement(
        lambda j: f"Of 100 images with {_asked(j)[0]}, it finds {_share(_asked(j)[1])}.",
        lambda j: _asks(j) and not math.isnan(_asked(j)[1].value),
    ),
    "clears": Statement(
        lambda j: f"Of 100 images without {_asked(j)[0]}, it clears {_share(_asked(j)[2])}.",
        lambda j: _asks(j) and not math.isnan(_asked(j)[2].value),
    ),
    "prevalence": Statement(
        _prevalence, lambda j: j.kind is Kind.BINARY and bool(j.scores.find("brier").positives)
    ),
    "kappa": Statement(
        lambda j: (
            "Agreement with the true grade beyond chance (quadratic weighted kappa; 0 is chance, "
            f"1 is perfect): {_words(j.scores.find('quadratic_weighted_kappa'))}."
        ),
        lambda j: j.kind is Kind.ORDINAL and not math.isnan(j.value("quadratic_weighted_kappa")),
    ),
    "gaps": Statement(
        lambda j: say(STATEMENTS, j.facts, "subgroups: alarms"),
        lambda j: bool(say(STATEMENTS, j.facts, "subgroups: alarms")),
    ),
    "unused": Statement(_unused, lambda j: j.scores.unreadable > 0),
}
