"""How each row moves a score, for intervals without resampling; floors of their variance."""

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
    """`part` of the variance that a share of this size would have, of as many images as patients
    stand on the rarer side.

    For scores that are means over positives of numbers between 0 and 1: near 1 their resamples
    seldom hold the few positives that are ranked low, so that they agree too well.
    """

    def floor(rows: Rows, groups: Ints) -> float:
        value = float(kernel(Sample.once(rows))[0])
        behind = min(len(np.unique(groups[side])) for side in (rows.target, ~rows.target))
        return part * value * (1 - value) / max(1, behind)

    return floor


def mean_floor(losses: Callable[[Rows], Floats]) -> Floor:
    """Of the mean of a loss: its variance if outcomes fell as often as the probabilities say, and
    all images of a patient alike.

    A sure mistake is rare and costs most. Where few patients happen to show none, their losses seem
    to agree, and an interval made of them alone holds the truth in 0.7 to 0.9 of such samples.

    Args:
        losses: [n, K] what each image would cost if it were of each class.
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
    """[n, K] of a table as it is, of one label [n] its two sides, absent and present."""
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
    """Of the mean of a value [n] of each row."""
    return lambda rows: centred(value(rows), np.ones(len(rows.at), dtype=np.bool_))


def centred(value: NDArray[Any], *sides: Bools) -> list[Floats]:
    """Per side: the value of its rows less their mean, over their number; nan elsewhere. [n]"""
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
    """Of a table each class that occurs, else positives and negatives."""
    if rows.target.ndim == 1:
        return [rows.target, ~rows.target]
    return list(occurring(rows)[0].T)


def right(rows: Rows) -> Bools:
    """Which rows [n] are decided rightly."""
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
