"""What the figures draw, as plain arrays: ROC, precision-recall, reliability, confusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.metrics.table import NUM_BINS, Bools, Floats, probability_bin
from medcnn.statistics.predictions import Predictions

MOST_POINTS = 300
"""More points than a printed curve can show; limits the size of reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLabel:
    """Assessed rows of one label: target, probability and decision [n]."""

    name: str
    target: Bools
    probability: Floats
    decision: Bools

    @property
    def both_classes(self) -> bool:
        return bool(self.target.any() and not self.target.all())


def one_label(predictions: Predictions, k: int) -> OneLabel:
    """Output `k` against the rest."""
    return _one_label(predictions, k, predictions.probabilities, predictions.decisions)


def every_label(predictions: Predictions) -> list[OneLabel]:
    """Each output against the rest; probabilities and decisions are computed once for all."""
    probabilities, decisions = predictions.probabilities, predictions.decisions
    outputs = range(len(predictions.labels.outputs))
    return [_one_label(predictions, k, probabilities, decisions) for k in outputs]


def _one_label(predictions: Predictions, k: int, probability: Floats, decision: Bools) -> OneLabel:
    column = predictions.targets[:, k]
    known = ~np.isnan(column)
    return OneLabel(
        name=predictions.labels.outputs[k],
        target=column[known] == 1,
        probability=probability[known, k],
        decision=decision[known, k],
    )


def roc(label: OneLabel) -> tuple[Floats, Floats]:
    """1 - specificity [m] and sensitivity [m] over all thresholds, from (0, 0) to (1, 1).

    Both classes must be present. Source: Fawcett 2006, Pattern Recognition Letters 27(8).
    """
    true, false = _called(label)
    return np.r_[0, false / false[-1]], np.r_[0, true / true[-1]]


def precision_recall(label: OneLabel) -> tuple[Floats, Floats]:
    """Recall [m] and precision [m] over all thresholds, recall ascending; to be drawn in steps.

    Both classes must be present. Starts at recall 0 with the precision of the first threshold.
    """
    true, false = _called(label)
    precision = true / (true + false)
    return np.r_[0, true / true[-1]], np.r_[precision[0], precision]


def _called(label: OneLabel) -> tuple[Floats, Floats]:
    """Positive and negative rows at or above each distinct probability, the highest first."""
    levels, at = np.unique(-label.probability, return_inverse=True)
    true = np.bincount(at, weights=label.target, minlength=len(levels))
    false = np.bincount(at, weights=~label.target, minlength=len(levels))
    return np.cumsum(true), np.cumsum(false)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Bins of equal width: rows in each [15], their mean probability and share of positives.

    The last two are nan for an empty bin."""

    count: NDArray[np.int64]
    predicted: Floats
    observed: Floats


def reliability(label: OneLabel) -> Reliability:
    """Source: DeGroot and Fienberg 1983, The Statistician 32(1)."""
    bins = probability_bin(label.probability)
    count = np.bincount(bins, minlength=NUM_BINS)
    rows = np.where(count > 0, count, np.nan)
    return Reliability(
        count=count,
        predicted=np.bincount(bins, weights=label.probability, minlength=NUM_BINS) / rows,
        observed=np.bincount(bins, weights=label.target, minlength=NUM_BINS) / rows,
    )


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Images by true class (row) and decided class (column), for binary or exclusive labels.

    [C, C] in the order of `labels.names`; images without a label are left out.
    """
    known = ~np.isnan(predictions.targets).any(axis=1)
    target, decision = predictions.targets[known] == 1, predictions.decisions[known]
    if not predictions.labels.exclusive:
        truth, decided = target[:, 0].astype(int), decision[:, 0].astype(int)
    else:
        truth, decided = target.argmax(axis=1), decision.argmax(axis=1)
    size = len(predictions.labels.names)
    return np.bincount(truth * size + decided, minlength=size * size).reshape(size, size)


def four_cells(label: OneLabel) -> tuple[int, int, int, int]:
    """Found, missed, false alarms, cleared: the 2 x 2 table of one label."""
    target, decision = label.target, label.decision
    cells = (target & decision, target & ~decision, ~target & decision, ~target & ~decision)
    found, missed, alarms, cleared = (int(cell.sum()) for cell in cells)
    return found, missed, alarms, cleared


def thinned(across: Floats, up: Floats, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most `most` points of a curve, evenly spaced along it; its ends always stay."""
    if len(across) <= most:
        return across, up
    length = np.r_[0, np.cumsum(np.abs(np.diff(across)) + np.abs(np.diff(up)))]
    at = np.searchsorted(length, np.linspace(0, length[-1], most))
    at = np.unique(np.r_[0, np.minimum(at, len(across) - 1), len(across) - 1])
    return across[at], up[at]
