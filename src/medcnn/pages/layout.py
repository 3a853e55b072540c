"""What the report's tables hold, as texts that the page only has to place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medcnn.data.labels import Kind
from medcnn.pages import figures
from medcnn.pages.format import count, estimate, number, of_hundred, percent, short, whose
from medcnn.statistics.curves import OneLabel, confusion, four_cells
from medcnn.statistics.cuts import cut_tables
from medcnn.statistics.grades import CutResult
from medcnn.statistics.intervals import Estimate
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.operating import rule_words
from medcnn.statistics.points import PointResult, ReadoutEvaluation
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import Evaluation, Score

CLASS_COLUMNS = (
    "auroc",
    "average_precision",
    "sensitivity",
    "specificity",
    "f1",
    "brier",
    "ece",
)
HEADLINES = ("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "sensitivity", "specificity")
MAIN = (
    *HEADLINES,
    "accuracy",
    "average_precision",
    "brier",
    "ece",
    "f1",
    "log_loss",
    "mean_absolute_grade_error",
)
"""Scores that stand in the open; the others are folded away."""
MOST_CLASSES = 25
"""Of a confusion matrix that fits a page; of more classes the commonest confusions are listed."""
MOST_CONFUSIONS = 30
SPLIT_ORDER = ("test", "validation", "train")


class Notes:
    """Notes of scores, with what their groups are; each is told once under the tables and marked
    with a letter."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.told: list[str] = []

    def mark(self, note: str) -> str:
        if not note:
            return ""
        named = whose(note, self.noun)
        if named not in self.told:
            self.told.append(named)
        return _letters(self.told.index(named))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter((_letters(i), note) for i, note in enumerate(self.told))


def _letters(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    text = ""
    while index >= 0:
        text = chr(ord("a") + index % 26) + text
        index = index // 26 - 1
    return text


def split_words(split: str) -> str:
    return "all images" if split == "all" else f"{split} split"


def split_rank(split: str) -> tuple[int, str]:
    known = split in SPLIT_ORDER
    return (SPLIT_ORDER.index(split) if known else len(SPLIT_ORDER), split)


def _told(
    found: Estimate, write: Callable[[float], str] = number, unit: str = ""
) -> dict[str, str]:
    """`87.0 %` and `81.0 to 92.0 %`, or why there is no interval."""
    value, interval = estimate(found.value, found.low, found.high, write, unit)
    why = found.note if math.isnan(found.value) else f"no interval: {found.note}"
    return {"value": value, "interval": interval, "why": "" if interval else why}


def share(found: Estimate) -> dict[str, str]:
    return _told(found, percent, " %")


def _shown(score: Score, notes: Notes | None) -> dict[str, Any]:
    """A score as the page prints it: texts, and the ends of its bar in % where it has one.

    Args:
        notes: where its note is told; None tells it beside the score where that has no interval.
    """
    value, interval = estimate(score.value, score.low, score.high)
    in_bar = METRICS[score.name].higher_is_better and interval and score.value >= 0
    ends = (score.low, 1 - score.high, score.value)
    return {
        "title": METRICS[score.name].title,
        "value": value,
        "interval": interval,
        "note": "" if interval else score.note,
        "mark": notes.mark(score.note) if notes else "",
        "bar": [f"{100 * max(v, 0):.1f}" for v in ends] if in_bar else None,
        "count": count(score.count),
        "groups": count(score.groups),
    }


def headlines(evaluation: Evaluation) -> list[dict[str, Any]]:
    scores = {s.name: s for s in evaluation.scores if s.overall}
    # of exclusive classes, macro sensitivity is balanced accuracy under another name
    twice = (
        ("sensitivity", "specificity") if evaluation.labels.exclusive else ("balanced_accuracy",)
    )
    return [_shown(scores[n], None) for n in HEADLINES if n in scores and n not in twice]


def overall(
    evaluations: Mapping[str, Evaluation], splits: Sequence[str], notes: Notes
) -> list[dict[str, Any]]:
    """One row per score, one cell per split."""
    rows = []
    for name in MAIN:
        metric = METRICS[name]
        found = [
            [s for s in evaluations[split].scores if s.name == name and s.overall]
            for split in splits
        ]
        cells = [_shown(s[0], notes) if s else None for s in found]
        if any(cells):
            better = {True: "higher is better", False: "lower is better", None: ""}
            direction = better[metric.higher_is_better]
            rows.append({"title": metric.title, "direction": direction, "cells": cells})
    return rows


def every_score(evaluation: Evaluation, notes: Notes) -> list[dict[str, Any]]:
    """One row per score, label and average, for the folded table."""
    return [
        {
            "title": METRICS[s.name].title,
            "of": s.label or s.average or "",
            "positives": "" if s.positives is None else count(s.positives),
            "method": s.method,
            **_shown(s, notes),
        }
        for s in evaluation.scores
    ]


def by_class(evaluation: Evaluation, notes: Notes) -> dict[str, Any] | None:
    """One row per class, one cell per score that classes have; None for binary labels."""
    own = {(s.name, s.label): s for s in evaluation.scores if s.label is not None}
    if not own:
        return None
    names = [n for n in CLASS_COLUMNS if (n, evaluation.labels.outputs[0]) in own]
    rows = []
    for k, label in enumerate(evaluation.labels.outputs):
        scores = [own[name, label] for name in names]
        rows.append(
            {
                "label": label,
                "positives": count(scores[0].positives or 0),
                "count": count(scores[0].count),
                "threshold": short(evaluation.thresholds[k]) if evaluation.thresholds else "",
                "cells": [_shown(s, notes) for s in scores],
            }
        )
    return {"columns": [METRICS[name].title for name in names], "rows": rows}


def _two_by_two(of: PointResult | CutResult) -> dict[str, Any]:
    return {
        "label": of.label,
        "threshold": {
            "value": short(of.threshold),
            "interval": "",
            "why": f"not available: {of.reason}; this one is used" if of.reason else "",
        },
        "counts": [count(n) for n in (of.found, of.missed, of.alarms, of.cleared)],
        "shares": [share(of.sensitivity), share(of.specificity)],
    }


def readout(found: ReadoutEvaluation | None) -> dict[str, Any] | None:
    """Texts of operating points, cut points of grades, prediction sets and referral."""
    if found is None:
        return None
    points = [
        {
            "point": rule_words(p.point),
            "prevalence": short(100 * p.prevalence, " %"),
            "values": [share(p.ppv), share(p.npv)],
            **_two_by_two(p),
        }
        for p in found.points
    ]
    grades = [
        {
            "point": rule_words(g.point),
            "cuts": [{"kappa": _told(c.kappa), **_two_by_two(c)} for c in g.cuts],
            "kappa": _told(g.kappa),
        }
        for g in found.grades
    ]
    sets = [
        {
            "label": s.label or "all images",
            "count": count(s.coverage.count),
            "coverage": share(s.coverage),
            "by_patient": share(s.by_patient),
            "size": "n/a" if math.isnan(s.mean_size) else f"{s.mean_size:.2f}",
            "single": "n/a" if math.isnan(s.single) else f"{of_hundred(s.single)} %",
            "empty": count(s.empty),
        }
        for s in found.sets
    ]
    referral = [
        {
            "share": short(100 * r.share, " %"),
            "certainty": short(r.certainty),
            "left": count(r.left),
            "error": share(r.error),
        }
        for r in found.referral
    ]
    bound = found.bound and {
        "asked": short(100 * found.bound.asked, " %"),
        "certainty": short(found.bound.certainty),
        "left": count(found.bound.error.count),
        "referred": share(found.bound.referred),
        "error": share(found.bound.error),
    }
    return {
        "points": points,
        "grades": grades,
        "sets": sets,
        "wanted": short(100 * found.sets[0].wanted, " %") if found.sets else "",
        "per": found.sets[0].per if found.sets else "",
        "referral": referral,
        "bound": bound,
        "aurc": number(found.aurc, 4),
        "curve": figures.risk_coverage_chart(found.curve) if len(found.curve) > 2 else None,
    }


def cuts(predictions: Predictions, found: ReadoutEvaluation | None) -> list[dict[str, Any]]:
    """The tables of the slider, each with the prevalence that PPV and NPV start at."""
    given = {p.label: p.prevalence for p in found.points} if found else {}
    tables = cut_tables(predictions)
    for table in tables:
        own = table["positives"] / (table["positives"] + table["negatives"])
        table["prevalence"] = given.get(table["label"], own)
    return tables


def confusions(predictions: Predictions) -> dict[str, Any] | None:
    """The confusion matrix as a table whose cells hold a number and the share of the row in %, or
    of many classes the pairs that are confused most often; None for multi-label, whose classes do
    not confuse."""
    if predictions.labels.kind is Kind.MULTILABEL:
        return None
    names, counts = predictions.labels.names, confusion(predictions)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(names) <= MOST_CLASSES:
        rows = [
            {
                "name": name,
                "cells": [
                    {
                        "count": count(n),
                        "share": round(100 * share),
                        "right": i == j,
                        "title": f"{name} called {names[j]}: {n:,} images, {percent(share)} %",
                    }
                    for j, (n, share) in enumerate(zip(counts[i].tolist(), shares[i], strict=True))
                ],
            }
            for i, name in enumerate(names)
        ]
        return {"names": names, "rows": rows, "pairs": []}
    wrong = counts - np.diag(np.diag(counts))
    pairs = np.argwhere(wrong > 0)
    often = np.argsort(-wrong[tuple(pairs.T)], kind="stable")[:MOST_CONFUSIONS]
    listed = [
        (names[i], names[j], count(wrong[i, j]), f"{percent(shares[i, j])} %")
        for i, j in pairs[often].tolist()
    ]
    return {"names": names, "rows": [], "pairs": listed}


def cells(predictions: Predictions, labels: Sequence[OneLabel]) -> list[dict[str, Any]]:
    """Found, missed, false alarms and cleared of each label of a multi-label set."""
    if predictions.labels.kind is not Kind.MULTILABEL:
        return []
    return [{"label": of.name, "counts": [count(n) for n in four_cells(of)]} for of in labels]


def dataset(counts: Mapping[str, Mapping[str, int]], group_noun: str) -> dict[str, Any] | None:
    """One row per class and one cell per split, from `Manifest.counts()`."""
    if not counts:
        return None
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys(key for split in counts.values() for key in split):
        if key == "groups" and group_noun == "image":
            continue  # would say the number of images a second time
        label = key.removeprefix("label:")
        cells = [
            (
                count(split.get(key, 0)),
                "" if key == label else f"{100 * split.get(key, 0) / split['images']:.1f} %",
            )
            for split in counts.values()
        ]
        name = {"images": "Images", "groups": f"{group_noun.capitalize()}s"}.get(key, label)
        rows.append({"name": name, "total": key == label, "cells": cells})
    return {"splits": list(counts), "rows": rows}


def unreadable(predictions: Mapping[str, Predictions]) -> list[tuple[str, str, str]]:
    """Split, image id and reason of every image without a prediction."""
    return [
        (split, image_id, reason)
        for split in sorted(predictions, key=split_rank)
        for image_id, reason in predictions[split].unreadable
    ]


def cell(value: Any) -> str:
    """One cell of a further table: numbers with four digits that count, mappings as name value,
    lists with semicolons."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{k.replace('_', ' ')} {cell(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
