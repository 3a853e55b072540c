"""Results on a split of cut points of the mean grade, fitted on validation for best kappa."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.estimates import Estimate, Interval
from medcnn.statistics.intervals import (
    different,
    group_numbers,
    how_many,
    interval_around,
    often_undefined,
    resampling_weights,
    spread_of_draws,
    too_few,
)
from medcnn.statistics.metrics.formulas import quadratic_weighted_kappa
from medcnn.statistics.metrics.table import METRICS, Assessed, Ints, Rows, Sample, Scope, samples
from medcnn.statistics.operating import OperatingPoint
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.shares import two_by_two

RESAMPLES = 1000
KAPPA = METRICS["quadratic_weighted_kappa"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """A grade or above, against the lower ones.

    Attributes:
        label: that grade.
        threshold: mean grade (by probability) from which it is predicted.
        reason: why it could not be fitted on validation, so that half grades are used.
        kappa: of this yes-or-no question (Cohen 1960, Educ Psychol Meas 20(1)).
    """

    label: str
    threshold: float
    reason: str
    found: int
    missed: int
    alarms: int
    cleared: int
    sensitivity: Estimate
    specificity: Estimate
    kappa: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class GradesResult:
    """Attributes:
    kappa: quadratic weighted kappa of the grades predicted by these cuts.
    """

    point: str
    cuts: tuple[CutResult, ...]
    kappa: Estimate


def judged_grades(predictions: Predictions, point: OperatingPoint) -> GradesResult:
    """Evaluate the cuts of `point` as if they made the decisions."""
    readout = replace(predictions.readout, points=(point,))
    assessed = Assessed(predictions=replace(predictions, readout=readout))
    groups, _ = group_numbers(predictions.groups)
    weights = resampling_weights(predictions.groups, RESAMPLES, seed=0)
    (table,) = assessed.of(Scope.TABLE)
    grades = predictions.labels.outputs[1:]
    rows = zip(grades, assessed.of(Scope.CUT), strict=True)
    return GradesResult(
        point=point.name,
        cuts=tuple(
            _cut(label, own, point.thresholds[k], point.reason(k), groups, weights)
            for k, (label, own) in enumerate(rows)
        ),
        kappa=_kappa(table, groups, weights, different(groups[table.at])),
    )


def _cut(
    label: str, rows: Rows, threshold: float, reason: str, groups: Ints, weights: NDArray[np.uint16]
) -> CutResult:
    positive, called, patients = rows.target, rows.decision, groups[rows.at]
    sides = (positive, ~positive, called, ~called)
    two = replace(
        rows,
        target=np.stack([~positive, positive], axis=1),
        decision=np.stack([~called, called], axis=1),
    )
    return CutResult(
        label=label,
        threshold=threshold,
        reason=reason,
        **two_by_two(positive, called, patients),
        kappa=_kappa(two, groups, weights, min((different(patients[s]) for s in sides), key=len)),
    )


def _kappa(rows: Rows, groups: Ints, weights: NDArray[np.uint16], rarer: Ints) -> Estimate:
    """Quadratic weighted kappa (Cohen's for two classes), with the interval of that score.

    Args:
        rarer: numbers of the patients on the rarer side.
    """
    behind = len(rarer)
    value = float(quadratic_weighted_kappa(Sample.once(rows))[0])
    if not len(rows.at):
        interval = Interval(reason="no image was assessed")
    elif math.isnan(value):
        interval = Interval(reason="truth and decision are always the same grade")
    elif few := too_few(behind, KAPPA.needs):
        interval = Interval(reason=few)
    else:
        drawn = np.concatenate([quadratic_weighted_kappa(s) for s in samples(rows, weights)])
        reason = often_undefined(drawn)
        spread = spread_of_draws(drawn, np.bincount(groups[rows.at])[rarer])
        interval = (
            Interval(reason=reason)
            if reason
            else interval_around(value, spread, KAPPA.bounds, behind)
        )
    behind_all = how_many(groups[rows.at])
    return Estimate.of(value, interval, count=len(rows.at), groups=behind_all)
