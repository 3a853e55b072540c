"""What `medcnn crossvalidate` says: the page, and the table of folds in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from medcnn.data.folds import LEFT_ALONE
from medcnn.data.manifest import NO_PATIENT, Manifest
from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, estimate, number, of_hundred, percent, whose
from medcnn.pages.group_statements import GROUPS
from medcnn.pages.layout import CLASS_COLUMNS, MAIN
from medcnn.pages.page import rendered
from medcnn.pages.subgroups import alarms, sections, tables
from medcnn.statistics.evaluation import Score
from medcnn.statistics.folds import CrossValidated
from medcnn.statistics.metrics.table import DEFAULT_SCORE, METRICS
from medcnn.statistics.subgroups import Subgroups

ONE_ANSWER = 0.95
"""Share of the images at which the models are said to have one answer."""
CHANCE = 0.5
"""AUROC of guessing."""


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """A finished cross-validation.

    Attributes:
        dealt: repeat -> the images with their folds.
        names: (repeat, fold) -> folder of that run, below that of the cross-validation.
        groups: of the first repeat.
        answers: class -> share of the images to which the models gave it; empty for findings that
            do not exclude each other.
        known: how many tests were of an image that the weights a model began with were trained or
            chosen with; None if that is not known.
    """

    backbone: str
    found: CrossValidated
    dealt: Mapping[int, Manifest]
    names: Mapping[tuple[int, int], str]
    groups: Subgroups = field(default_factory=Subgroups)
    answers: Mapping[str, float] = field(default_factory=dict)
    known: int | None = 0

    @property
    def whole(self) -> Manifest:
        return self.dealt[1]

    @property
    def repeats(self) -> int:
        return len(self.dealt)

    @property
    def folds(self) -> int:
        return len(self.names) // self.repeats

    @property
    def main(self) -> Score:
        evaluation = self.found.evaluation
        return evaluation.find(DEFAULT_SCORE[evaluation.labels.kind])

    @property
    def sure(self) -> bool:
        return not math.isnan(self.main.low)

    @property
    def commonest(self) -> tuple[str, float]:
        """The most frequent answer, and its share."""
        return max(self.answers.items(), key=lambda of: of[1], default=("", 0.0))

    @property
    def left_alone(self) -> int:
        return self.whole.excluded.get(LEFT_ALONE, 0)

    @property
    def group_noun(self) -> str:
        return self.whole.group_noun

    def spread(self, score: str) -> tuple[float, float]:
        """Lowest and highest value of a fold; nan if it is defined in none."""
        known = [v for row in self.found.by_fold[score] for v in row if not math.isnan(v)]
        return (min(known), max(known)) if known else (math.nan, math.nan)

    def by_repeat(self, score: str) -> list[float]:
        """Mean over the folds of each repeat."""
        rows = [[v for v in row if not math.isnan(v)] for row in self.found.by_fold[score]]
        return [float(np.mean(row)) if row else math.nan for row in rows]


def _title(c: Crossed) -> str:
    return METRICS[c.main.name].title


def _value(c: Crossed) -> str:
    value, interval = estimate(c.main.value, c.main.low, c.main.high)
    how = f" (95 % interval {interval})" if interval else ""
    models = sum(not math.isnan(v) for row in c.found.by_fold[c.main.name] for v in row)
    unseen = "that it never saw" if c.known == 0 else "outside of its training split"
    return (
        f"{_title(c)} is {value}{how}: the mean over {counted(models, 'model')}, each tested on "
        f"{c.group_noun}s {unseen}."
    )


def _spread(c: Crossed) -> str:
    low, high = c.spread(c.main.name)
    return f"The individual models lie between {number(low)} and {number(high)}."


def _repeats(c: Crossed) -> str:
    values = c.by_repeat(c.main.name)
    return (
        f"With other folds and another seed, the mean lies between {number(min(values))} and "
        f"{number(max(values))} ({c.repeats} repeats)."
    )


def _why_none(c: Crossed) -> str:
    return f"{_title(c)} has no interval: {whose(c.main.note, c.group_noun)}."


SAYS: dict[str, Statement[Crossed]] = {
    "research": Statement("Not a medical device.", lambda c: True),
    "value": Statement(_value, lambda c: not math.isnan(c.main.value)),
    "no interval": Statement(_why_none, lambda c: not c.sure),
    "spread": Statement(_spread, lambda c: not math.isnan(c.main.value)),
    "repeats": Statement(_repeats, lambda c: c.repeats > 1 and not math.isnan(c.main.value)),
    "recipe": Statement(
        "These scores describe the settings, not one model: each fold trained its own. Epoch, "
        "thresholds and calibration were chosen on validation images from the training folds.",
        lambda c: True,
    ),
    "interval": Statement(
        lambda c: (
            "An interval says how far the mean would move if the same models were tested on other "
            f"{c.group_noun}s; {c.group_noun}s were resampled, each with all images. It does not "
            "cover training again on other images, which the repeats show only in part."
        ),
        lambda c: c.sure and c.group_noun not in NO_PATIENT,
    ),
    "interval of images": Statement(
        "An interval says how far the mean would move if the same models were tested on other "
        "images. The set does not say which images belong to the same patient, so it may be too "
        "narrow.",
        lambda c: c.sure and c.group_noun in NO_PATIENT,
    ),
    "known": Statement(
        lambda c: (
            "The weights that the models began with had been trained on these images or chosen "
            f"with them: {counted(c.known or 0, 'test')} of an image that they know. All scores "
            "here are too good."
        ),
        lambda c: bool(c.known),
    ),
    "perhaps known": Statement(
        "Whether the weights that the models began with were trained on these images is not "
        "known, since their pseudonyms were made with another key. If they were, all scores here "
        "are too good.",
        lambda c: c.known is None,
    ),
    "one answer": Statement(
        lambda c: (
            f"The models answer {c.commonest[0]} for {of_hundred(c.commonest[1])} of 100 images. "
            f"So sensitivity and specificity hardly depend on which {c.group_noun}s are tested, "
            "and their intervals are narrow although little was learnt."
        ),
        # good models of a rare finding also give nearly every image one answer
        lambda c: c.commonest[1] >= ONE_ANSWER and not c.main.low > CHANCE,
    ),
    "spread of folds": Statement(
        "The spread over folds is shown beside the score. It is not an interval: the models share "
        "most of their training images, and each is tested on few.",
        lambda c: True,
    ),
    "pooled": Statement(
        "No score above is computed from all folds in one table. That would rank images of "
        "different models against each other; if one model gives higher probabilities than "
        "another, the pooled AUROC is wrong even if each model ranks its own images well.",
        lambda c: True,
    ),
    "left out": Statement(
        "Calibration error is not averaged over folds: for the same model, it is larger in small "
        "folds. The report of each fold has it.",
        lambda c: True,
    ),
    "groups": Statement(
        lambda c: (
            "Groups pool the decisions and probabilities of all folds, each from the model whose "
            f"test split has the {c.group_noun}: a group has too few in each fold for means over "
            "folds. AUROC by group would rank images of different models against each other; the "
            "report of each fold has it."
        ),
        lambda c: bool(c.groups.groups),
    ),
    "groups of one repeat": Statement(
        "Groups are those of the first repeat.", lambda c: bool(c.groups.groups) and c.repeats > 1
    ),
    "test": Statement(
        lambda c: (
            f"The set's fixed test split ({counted(c.left_alone, 'image')}) was neither trained on "
            "nor looked at. To use it once at the end, run medcnn evaluate with this folder as "
            "checkpoint."
        ),
        lambda c: c.left_alone > 0,
    ),
}


def crossvalidation_page(crossed: Crossed, notes: list[str]) -> str:
    """One self-contained HTML page."""
    evaluation = crossed.found.evaluation
    scores = [s for s in evaluation.scores if s.overall and s.name in MAIN]
    labels = [
        s
        for label in evaluation.labels.outputs
        for s in evaluation.scores
        if s.label == label and s.name in CLASS_COLUMNS[:4]
    ]
    images = counted(evaluation.images, "image")
    of = counted(evaluation.groups, crossed.group_noun)
    return rendered(
        "crossvalidation.html.j2",
        {"number": number, "estimate": lambda s: estimate(s.value, s.low, s.high)},
        title=f"{crossed.backbone} cross-validated on {crossed.whole.source}",
        task=f"{images}{f' of {of}' if crossed.whole.grouped else ''} in {crossed.folds} folds",
        warnings=notes,
        crossed=crossed,
        scores=scores,
        labels=labels,
        metrics=METRICS,
        tables={r: table(manifest) for r, manifest in crossed.dealt.items()},
        say=partial(_said, crossed),
        subgroups=tables(crossed.groups),
        of_split="out of fold",
        more=say(SAYS, crossed, "groups", "groups of one repeat"),
        noun=crossed.group_noun,
        whose=partial(whose, noun=crossed.group_noun),
    )


def _said(crossed: Crossed, *names: str) -> str:
    """What is said about the cross-validation, or (by `GROUPS`) about its subgroups."""
    found = crossed.groups
    facts = Facts(
        sections=frozenset(sections(found)),
        group_noun=crossed.group_noun,
        gaps=found.gaps,
        gap_level=f"{percent(found.level)} %",
        alarms=alarms(found),
    )
    own = [n for n in names if n in SAYS]
    of_groups = [n for n in names if n not in SAYS]
    return f"{say(SAYS, crossed, *own)} {say(GROUPS, facts, *of_groups)}".strip()


def table(manifest: Manifest) -> list[list[str]]:
    """The folds as dealt: a head, and a row for each."""
    counts = manifest.fold_counts()
    names = [key for key in next(iter(counts.values())) if key.startswith("label:")]
    groups = ["groups"] if manifest.grouped else []
    head = ["fold", *(f"{manifest.group_noun}s" for _ in groups), "images"]
    head += [name.removeprefix("label:") for name in names]
    rows = [
        [str(fold), *(f"{row[key]:,}" for key in (*groups, "images", *names))]
        for fold, row in counts.items()
    ]
    return [head, *rows]


MOST_COLUMNS = 9


def table_lines(manifest: Manifest) -> Iterator[str]:
    """The same for a terminal of 100 columns; the page has all labels."""
    cells = [row[:MOST_COLUMNS] for row in table(manifest)]
    widths = [min(14, max(len(row[at]) for row in cells)) for at in range(len(cells[0]))]
    for row in cells:
        parts = [
            f"{cell if len(cell) <= width else cell[: width - 1] + '…':>{width}}"
            for cell, width in zip(row, widths, strict=True)
        ]
        yield f"  {'  '.join(parts)}"[:100]
    if (more := len(table(manifest)[0]) - MOST_COLUMNS) > 0:
        yield f"  and {counted(more, 'more label')}, on the page"
