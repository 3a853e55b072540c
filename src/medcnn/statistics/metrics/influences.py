"""The effect of each row on a score, for intervals without resampling; floors of the variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.metrics.rows import Bools, Floats, Ints, Rows, Sample

Kernel = Callable[[Sample], Floats]
Influence = Callable[[Rows], Sequence[Floats]]
Floor = Callable[[Rows, Ints], float]
EPS = float(np.finfo(np.float64).eps)


def share_floor(kernel: Kernel, part: float) -> Floor:
    """`part` of the variance of a share of this size, with as many images as there are patients on
    the rarer side.

    For scores that are means over positives of numbers between 0 and 1: near 1, resamples rarely
    contain the few positives that are ranked low, so they agree too well.
    """

    def floor(rows: Rows, groups: Ints) -> float:
        value = float(kernel(Sample.once(rows))[0])
        behind = min(len(np.unique(groups[side])) for side in (rows.target, ~rows.target))
        return part * value * (1 - value) / max(1, behind)

    return floor


def mean_floor(losses: Callable[[Rows], Floats]) -> Floor:
    """For the mean of a loss: its variance if outcomes followed the probabilities and all images of
    a patient were alike.

    Confident mistakes are rare and cost most. If few patients happen to have none, their losses
    agree by chance, and an interval from them alone contains the truth in only 0.7 to 0.9 of such
    samples.

    Args:
        losses: [n, K] loss of each image if it were of each class.
    """

    def floor(rows: Rows, groups: Ints) -> float:
        p, loss = _two_sided(rows.probability), losses(rows)
        expected = (p * loss).sum(axis=1)
        spread = np.sqrt(np.maximum(0, (p * loss**2).sum(axis=1) - expected**2))
        within = np.bincount(groups, weights=spread)
        between = np.bincount(groups, weights=expected - expected.mean())
        return float((within**2 + between**2).sum()) / len(groups) ** 2

    return floor


def _two_sided(probability: Floats) -> Floats:
    """[n, K]: a table unchanged; for one label [n], its two sides, absent and present."""
    if probability.ndim > 1:
        return probability
    return np.stack([1 - probability, probability], axis=1)


def squared_losses(rows: Rows) -> Floats:
    return np.stack([rows.probability**2, (1 - rows.probability) ** 2], axis=1)


def surprises(rows: Rows) -> Floats:
    return np.asarray(-np.log(np.maximum(_two_sided(rows.probability), EPS)))


def grade_errors(rows: Rows) -> Floats:
    decided = rows.decision.argmax(axis=1)[:, None]
    missed = np.abs(decided - np.arange(rows.decision.shape[1]))
    return np.asarray(missed, dtype=np.float64)


def mean_influence(value: Callable[[Rows], NDArray[Any]]) -> Influence:
    """Influence on the mean of a value [n] of each row."""
    return lambda rows: centred(value(rows), np.ones(len(rows.at), dtype=np.bool_))


def centred(value: NDArray[Any], *sides: Bools) -> list[Floats]:
    """Per side: the value of its rows minus their mean, over their number; nan elsewhere. [n]"""
    return [
        np.where(s, value - value[s].mean() if s.any() else 0, np.nan) / max(1, s.sum())
        for s in sides
    ]


def every(rows: Rows) -> Sequence[Bools]:
    return [np.ones(len(rows.at), dtype=np.bool_)]


def positives(rows: Rows) -> Sequence[Bools]:
    return [rows.target]


def negatives(rows: Rows) -> Sequence[Bools]:
    return [~rows.target]


def classes(rows: Rows) -> Sequence[Bools]:
    """For a table, each class that occurs; else positives and negatives."""
    if rows.target.ndim == 1:
        return [rows.target, ~rows.target]
    return list(occurring(rows)[0].T)


def right(rows: Rows) -> Bools:
    """Which rows [n] have the right decision."""
    if rows.target.ndim > 1:
        return np.asarray((rows.decision & rows.target).any(axis=1))
    return np.asarray(rows.decision == rows.target)


def occurring(rows: Rows) -> tuple[Bools, Bools]:
    occurs = rows.target.any(axis=0)
    return rows.target[:, occurs], (rows.target & rows.decision)[:, occurs]


def grade_error(rows: Rows) -> Floats:
    missed = rows.target.argmax(axis=1) - rows.decision.argmax(axis=1)
    return np.asarray(np.abs(missed), dtype=np.float64)


def squared(rows: Rows) -> Floats:
    return np.asarray((rows.probability - rows.target) ** 2)


def surprise(rows: Rows) -> Floats:
    if rows.target.ndim > 1:
        given = (rows.probability * rows.target).sum(axis=1)
    else:
        given = np.where(rows.target, rows.probability, 1 - rows.probability)
    return np.asarray(-np.log(np.maximum(given, EPS)))
