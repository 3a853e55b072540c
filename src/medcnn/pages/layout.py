"""What the report's tables hold, as texts that the page only has to place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medcnn.pages import figures
from medcnn.pages.digits import number, percent, span
from medcnn.statistics.cuts import cut_tables
from medcnn.statistics.intervals import Estimate
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.operating import rule_words
from medcnn.statistics.points import ReadoutEvaluation
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
SPLIT_ORDER = ("test", "validation", "train")


class Footnotes:
    """Notes of scores, each told once under the tables and marked with a letter."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def mark(self, note: str) -> str:
        if not note:
            return ""
        if note not in self.notes:
            self.notes.append(note)
        return _letters(self.notes.index(note))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter((_letters(i), note) for i, note in enumerate(self.notes))


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


def _shown(score: Score, mark: str = "") -> dict[str, Any]:
    """A score as the page prints it: texts, and the ends of its bar in % where it has one."""
    no_interval = math.isnan(score.low)
    in_bar = METRICS[score.name].higher_is_better and not no_interval and score.value >= 0
    return {
        "title": METRICS[score.name].title,
        "value": number(score.value),
        "interval": span(score.low, score.high),
        "why": score.note if no_interval else "",
        "mark": mark,
        "bar": (
            tuple(f"{100 * max(v, 0):.1f}" for v in (score.low, 1 - score.high, score.value))
            if in_bar
            else None
        ),
        "count": f"{score.count:,}",
        "groups": f"{score.groups:,}",
    }


def headlines(evaluation: Evaluation) -> list[dict[str, Any]]:
    scores = {s.name: s for s in evaluation.scores if s.overall}
    if evaluation.labels.exclusive:
        # macro sensitivity is balanced accuracy under another name
        scores = {n: s for n, s in scores.items() if n not in ("sensitivity", "specificity")}
    else:
        scores.pop("balanced_accuracy")
    return [_shown(scores[n]) for n in HEADLINES if n in scores]


def overall(
    evaluations: Mapping[str, Evaluation],
    splits: Sequence[str],
    footnotes: Footnotes,
    names: Sequence[str] = MAIN,
) -> list[dict[str, Any]]:
    """One row per score, one cell per split."""
    rows = []
    for name in names:
        metric = METRICS[name]
        found = [
            [s for s in evaluations[split].scores if s.name == name and s.overall]
            for split in splits
        ]
        cells = [_shown(s[0], footnotes.mark(s[0].note)) if s else None for s in found]
        if any(cells):
            better = {True: "higher is better", False: "lower is better", None: ""}
            direction = better[metric.higher_is_better]
            rows.append({"title": metric.title, "direction": direction, "cells": cells})
    return rows


def every_score(evaluation: Evaluation, footnotes: Footnotes) -> list[dict[str, Any]]:
    """One row per score, label and average, for the folded table."""
    return [
        {
            "title": METRICS[s.name].title,
            "of": s.label or s.average or "",
            "positives": "" if s.positives is None else f"{s.positives:,}",
            "method": s.method,
            **_shown(s, footnotes.mark(s.note)),
        }
        for s in evaluation.scores
    ]


def by_class(evaluation: Evaluation, footnotes: Footnotes) -> dict[str, Any] | None:
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
                "positives": f"{scores[0].positives or 0:,}",
                "count": f"{scores[0].count:,}",
                "threshold": f"{evaluation.thresholds[k]:.3g}" if evaluation.thresholds else "",
                "cells": [_shown(s, footnotes.mark(s.note)) for s in scores],
            }
        )
    return {"columns": [METRICS[name].title for name in names], "rows": rows}


def points(found: ReadoutEvaluation) -> list[dict[str, Any]]:
    return [
        {
            "point": rule_words(p.point),
            "label": p.label,
            "threshold": _threshold(p.threshold, p.reason),
            "counts": [f"{n:,}" for n in (p.found, p.missed, p.alarms, p.cleared)],
            "shares": [share(p.sensitivity), share(p.specificity)],
            "prevalence": "n/a" if math.isnan(p.prevalence) else f"{100 * p.prevalence:.3g} %",
            "values": [share(p.ppv), share(p.npv)],
        }
        for p in found.points
    ]


def grades(found: ReadoutEvaluation) -> list[dict[str, Any]]:
    """Cut points of the mean grade: a row for each, and the kappa of all grades."""
    return [
        {
            "point": rule_words(g.point),
            "cuts": [
                {
                    "label": cut.label,
                    "threshold": _threshold(cut.threshold, cut.reason),
                    "counts": [f"{n:,}" for n in (cut.found, cut.missed, cut.alarms, cut.cleared)],
                    "shares": [share(cut.sensitivity), share(cut.specificity)],
                    "kappa": _agreement(cut.kappa),
                }
                for cut in g.cuts
            ],
            "kappa": _agreement(g.kappa),
        }
        for g in found.grades
    ]


def readout(found: ReadoutEvaluation | None) -> dict[str, Any] | None:
    """Texts of operating points, prediction sets and referral."""
    if found is None:
        return None
    sets = [
        {
            "label": s.label or "all images",
            "count": f"{s.coverage.count:,}",
            "coverage": share(s.coverage),
            "by_patient": share(s.by_patient),
            "size": "n/a" if math.isnan(s.mean_size) else f"{s.mean_size:.2f}",
            "single": "n/a" if math.isnan(s.single) else f"{percent(s.single, 0)} %",
            "empty": f"{s.empty:,}",
        }
        for s in found.sets
    ]
    referral = [
        {
            "share": f"{100 * r.share:.3g} %",
            "certainty": f"{r.certainty:.3g}",
            "left": f"{r.left:,}",
            "error": share(r.error),
        }
        for r in found.referral
    ]
    bound = found.bound and {
        "asked": f"{100 * found.bound.asked:.3g} %",
        "certainty": f"{found.bound.certainty:.3g}",
        "left": f"{found.bound.error.count:,}",
        "referred": share(found.bound.referred),
        "error": share(found.bound.error),
    }
    return {
        "points": points(found),
        "grades": grades(found),
        "sets": sets,
        "wanted": f"{100 * found.sets[0].wanted:.3g} %" if found.sets else "",
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


def _threshold(value: float, reason: str) -> dict[str, str]:
    return {
        "value": f"{value:.3g}",
        "interval": "",
        "why": f"not available: {reason}; this one is used" if reason else "",
    }


def share(found: Estimate) -> dict[str, str]:
    """`87.0 %` and `81.0 to 92.0 %`, or why there is no interval."""
    given = not math.isnan(found.low)
    return {
        "value": "n/a" if math.isnan(found.value) else f"{percent(found.value)} %",
        "interval": f"{percent(found.low)} to {percent(found.high)} %" if given else "",
        "why": _why(found),
    }


def _agreement(found: Estimate) -> dict[str, str]:
    return {
        "value": number(found.value),
        "interval": span(found.low, found.high),
        "why": _why(found),
    }


def _why(found: Estimate) -> str:
    """Why there is no value, or no interval."""
    missing, given = math.isnan(found.value), not math.isnan(found.low)
    return "" if given else found.note if missing else f"no interval: {found.note}"


def dataset(counts: Mapping[str, Mapping[str, int]], group_noun: str) -> list[dict[str, Any]]:
    """One row per class and one cell per split, from `Manifest.counts()`."""
    rows: list[dict[str, Any]] = []
    keys = list(dict.fromkeys(key for row in counts.values() for key in row))
    for key in keys:
        if key == "groups" and group_noun == "image":
            continue  # would say the number of images a second time
        label = key.removeprefix("label:")
        name = {"images": "Images", "groups": f"{group_noun.capitalize()}s"}.get(key, label)
        row = []
        for split in counts.values():
            share = f"{100 * split.get(key, 0) / split['images']:.1f} %"
            row.append((f"{split.get(key, 0):,}", share if key != label else ""))
        rows.append({"name": name, "total": key == label, "cells": row})
    return rows


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
