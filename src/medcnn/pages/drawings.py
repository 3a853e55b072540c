"""The charts of a report by what they are of: each class, the confusions, the training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medcnn.data.labels import Kind
from medcnn.pages import figures
from medcnn.pages.digits import number, percent, span
from medcnn.pages.svg import Chart
from medcnn.statistics.curves import OneLabel, confusion, every_label, four_cells
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import Evaluation
from medcnn.system.progress import track

MOST_CLASSES = 25
"""Of a confusion matrix that fits a page; of more classes the commonest confusions are listed."""
MOST_CONFUSIONS = 30


def classes(
    predictions: Predictions, labels: Sequence[OneLabel], evaluation: Evaluation
) -> list[dict[str, Any]]:
    """The charts of each output, or the reason why they cannot be drawn."""
    binary = evaluation.labels.kind is Kind.BINARY
    areas = {s.label: s for s in evaluation.scores if s.name == "auroc" and s.average is None}
    found = []
    for label in track(labels, len(labels), "report: charts of each class"):
        area = areas[None if binary else label.name]
        missing = math.isnan(area.value)
        found.append(
            {
                "name": label.name,
                "positives": f"{int(label.target.sum()):,}",
                "count": f"{len(label.target):,}",
                "auroc": number(area.value),
                "interval": area.note if math.isnan(area.low) else span(area.low, area.high),
                "charts": _charts(label),
                "reason": f"ROC and precision-recall curves are {area.note}." if missing else "",
            }
        )
    return found


def _charts(label: OneLabel) -> list[Chart]:
    drawn = []
    if label.both_classes:
        drawn += [figures.roc_chart(label), figures.precision_recall_chart(label)]
    if len(label.target):
        drawn.append(figures.reliability_chart(label))
    return drawn


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
                        "count": f"{n:,}",
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
        (names[i], names[j], f"{wrong[i, j]:,}", f"{percent(shares[i, j])} %")
        for i, j in pairs[often].tolist()
    ]
    return {"names": names, "rows": [], "pairs": listed}


def cells(predictions: Predictions, labels: Sequence[OneLabel]) -> list[dict[str, str]]:
    """Found, missed, false alarms and cleared of each label of a multi-label set."""
    if predictions.labels.kind is not Kind.MULTILABEL:
        return []
    names = ("found", "missed", "alarms", "cleared")
    return [
        {"label": label.name} | {n: f"{c:,}" for n, c in zip(names, four_cells(label), strict=True)}
        for label in labels
    ]


def labels_of(predictions: Predictions | None) -> list[OneLabel]:
    return every_label(predictions) if predictions else []


def training(history: Sequence[Mapping[str, float]], chosen: float | None = None) -> list[Chart]:
    """Loss, validation scores and learning rates, of what the history holds.

    Args:
        chosen: the epoch whose weights were kept.
    """

    def line(key: str) -> list[float]:
        return [float(epoch.get(key, math.nan)) for epoch in history]

    def known(key: str) -> bool:
        return any(math.isfinite(value) for value in line(key))

    epochs = [float(epoch.get("epoch", i)) for i, epoch in enumerate(history)]
    drawn = []
    losses = {"training": "train/loss", "validation": "val/loss"}
    if lines := {name: line(key) for name, key in losses.items() if known(key)}:
        chart = figures.history_chart("Loss", epochs, lines, "Loss", chosen=chosen)
        drawn.append(chart)
    keys = sorted({key for epoch in history for key in epoch})
    kept = "" if chosen is None else f", epoch {chosen:g} kept"
    for key in keys:
        if key.startswith("val/") and key != "val/loss" and known(key):
            name = key.removeprefix("val/")
            title = METRICS[name].title if name in METRICS else name
            caption = f"{title} on validation{kept}"
            drawn.append(
                figures.history_chart(caption, epochs, {title: line(key)}, title, chosen=chosen)
            )
    rates = {k.removeprefix("lr/"): line(k) for k in keys if k.split("/")[0] == "lr" and known(k)}
    if len({str(values) for values in rates.values()}) == 1:
        rates = dict([next(iter(rates.items()))])
    if rates:
        log = all(v > 0 for values in rates.values() for v in values if math.isfinite(v))
        title = "Learning rate"
        drawn.append(figures.history_chart(title, epochs, rates, title, log=log))
    return drawn
