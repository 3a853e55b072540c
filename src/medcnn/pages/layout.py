"""The contents of the report's tables, as texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medcnn.data.labels import Kind
from medcnn.pages.format import count, estimate, number, percent, short, whose
from medcnn.statistics.curves import confusion
from medcnn.statistics.cuts import cut_tables
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.evaluation import Evaluation, Score
from medcnn.statistics.grades import CutResult
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.points import PointResult, ReadoutEvaluation
from medcnn.statistics.predictions import Predictions

CLASS_COLUMNS = ("auroc", "average_precision", "sensitivity", "specificity", "f1", "brier", "ece")
HEADLINES = ("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "sensitivity", "specificity")
OTHERS = ("accuracy", "average_precision", "brier", "ece", "f1", "log_loss")
MAIN = (*HEADLINES, *OTHERS, "mean_absolute_grade_error")
"""Scores that are always visible; the others are folded away."""
MOST_CLASSES = 25
"""Most classes of a confusion matrix that fits a page; for more, common confusions are listed."""
MOST_CONFUSIONS = 30
SPLIT_ORDER = ("test", "validation", "train")


class Notes:
    """Notes of scores, naming their groups; each is printed once below the tables and marked with a
    letter."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.given: list[str] = []

    def mark(self, note: str) -> str:
        if not note:
            return ""
        named = whose(note, self.noun)
        if named not in self.given:
            self.given.append(named)
        return _letters(self.given.index(named))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter((_letters(i), note) for i, note in enumerate(self.given))


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


def valued(
    found: Estimate, write: Callable[[float], str] = number, unit: str = ""
) -> tuple[str, str, str]:
    """`87.0 %` and `81.0 to 92.0 %`, or why there is no interval."""
    value, interval = estimate(found.value, found.low, found.high, write, unit)
    why = found.note if math.isnan(found.value) else f"no interval: {found.note}"
    return value, interval, "" if interval else why


def threshold(of: PointResult | CutResult) -> tuple[str, str, str]:
    why = f"not available: {of.reason}; this one is used" if of.reason else ""
    return short(of.threshold), "", why


def bar(score: Score) -> list[str] | None:
    """The ends of an interval and its value, in % of a bar from 0 to 1; the second end is measured
    from the right."""
    if not METRICS[score.name].higher_is_better or math.isnan(score.low) or score.value < 0:
        return None
    return [f"{100 * max(v, 0):.1f}" for v in (score.low, 1 - score.high, score.value)]


def headlines(evaluation: Evaluation) -> list[Score]:
    scores = {s.name: s for s in evaluation.scores if s.overall}
    # for exclusive classes, macro sensitivity is the same as balanced accuracy
    exclusive = evaluation.labels.exclusive
    twice = ("sensitivity", "specificity") if exclusive else ("balanced_accuracy",)
    return [scores[n] for n in HEADLINES if n in scores and n not in twice]


def overall(evaluations: Sequence[Evaluation]) -> dict[str, list[Score | None]]:
    """Score -> its value in each split, for all scores."""
    found = [{s.name: s for s in e.scores if s.overall} for e in evaluations]
    return {name: [f.get(name) for f in found] for name in MAIN if any(name in f for f in found)}


def beside(images: Evaluation | None, patients: Evaluation | None) -> list[tuple[Score, Score]]:
    """Main scores of images and of patients, in pairs."""
    if images is None or patients is None:
        return []
    own = {s.name: s for s in patients.scores if s.overall}
    return [(s, own[s.name]) for s in images.scores if s.overall and s.name in own]


def by_class(evaluation: Evaluation) -> dict[str, list[Score]]:
    """Class -> its scores; empty for binary labels."""
    own = {(s.name, s.label): s for s in evaluation.scores if s.label is not None}
    return {
        label: scores
        for label in evaluation.labels.outputs
        if (scores := [own[name, label] for name in CLASS_COLUMNS if (name, label) in own])
    }


def cuts(predictions: Predictions, found: ReadoutEvaluation | None) -> list[dict[str, Any]]:
    """The tables for the slider, each with the initial prevalence for PPV and NPV."""
    given = {p.label: p.prevalence for p in found.points} if found else {}
    tables = cut_tables(predictions)
    for table in tables:
        own = table["positives"] / (table["positives"] + table["negatives"])
        table["prevalence"] = given.get(table["label"], own)
    return tables


def confusions(predictions: Predictions) -> dict[str, Any] | None:
    """The confusion matrix as a table of numbers and shares of the row in %, or for many classes
    the most frequently confused pairs; None for multilabel, which has no confusions."""
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


def dataset(counts: Mapping[str, Mapping[str, int]], group_noun: str) -> dict[str, Any] | None:
    """One row per class and one cell per split, from `Manifest.counts()`."""
    if not counts:
        return None
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys(key for split in counts.values() for key in split):
        if key == "groups" and group_noun == "image":
            continue  # would repeat the number of images
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


def cell(value: Any) -> str:
    """One cell of an additional table: numbers with four significant digits, mappings as name
    value, lists with semicolons."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{k.replace('_', ' ')} {cell(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
