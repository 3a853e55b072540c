"""Calibration slope and intercept: the line of true log odds over those of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medcnn.statistics.metrics.formulas import weighted
from medcnn.statistics.metrics.influences import EPS
from medcnn.statistics.metrics.rows import Bools, Floats, Ints, Rows, Sample, ratio


def calibration_slope(sample: Sample) -> Floats:
    """Slope of the log odds of the outcome over those of the probability; 1 is best, below 1 the
    model is overconfident. [R]; nan if a threshold separates the classes: it is then infinite.

    Source: Cox 1958, Biometrika 45(3/4); Van Calster et al. 2016, J Clin Epidemiol 74.
    """
    return _recalibrated(sample)[1]


def calibration_intercept(sample: Sample) -> Floats:
    """Log odds to add to every probability so that their mean is the prevalence; 0 is best, below
    0 the model overestimates. [R]; nan with only one class.

    Source: Cox 1958, Biometrika 45(3/4); calibration in the large, the slope kept at 1.
    """
    target, offset = sample.rows.target, _log_odds(sample.rows)
    positives = sample.sums(sample.rows.placed(target))
    weights = sample.weights[:, sample.rows.at]
    low, high = np.full(len(positives), -60.0), np.full(len(positives), 60.0)
    found = np.zeros(len(positives))
    for _ in range(100):  # the sum of probabilities increases with the intercept
        p = _sigmoid(offset + found[:, None])
        short = positives - weighted(weights, p)
        low, high = np.where(short > 0, found, low), np.where(short > 0, high, found)
        # Newton's step if it stays between the ends, else their midpoint
        step = found + ratio(short, weighted(weights, p * (1 - p)))
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        moved, found = np.abs(step - found).max(initial=0.0), step
        if moved < 1e-12:
            break
    both = (positives > 0) & (positives < sample.total)
    return np.where(both, found, np.nan)


def slope_influence(rows: Rows) -> Sequence[Floats]:
    """Influence on the maximum-likelihood slope; source: Liang and Zeger 1986, Biometrika 73(1)."""
    z = _log_odds(rows)
    intercept, slope = (float(v[0]) for v in _recalibrated(Sample.once(rows)))
    p = _sigmoid(intercept + slope * z)
    w = p * (1 - p)
    away = z - (w @ z) / w.sum()
    return [away * (rows.target - p) / (w @ away**2)]


def slope_floor(rows: Rows, groups: Ints) -> float:
    """Floor of the slope's variance, like `mean_floor`: if outcomes followed the fitted line."""
    z = _log_odds(rows)
    intercept, slope = (float(v[0]) for v in _recalibrated(Sample.once(rows)))
    p = _sigmoid(intercept + slope * z)
    w = p * (1 - p)
    away = z - (w @ z) / w.sum()
    return _line_floor(away * np.sqrt(w), groups, float(w @ away**2))


def intercept_influence(rows: Rows) -> Sequence[Floats]:
    """Influence on the maximum-likelihood intercept, like `slope_influence`."""
    p = _sigmoid(_log_odds(rows) + float(calibration_intercept(Sample.once(rows))[0]))
    return [(rows.target - p) / (p * (1 - p)).sum()]


def intercept_floor(rows: Rows, groups: Ints) -> float:
    """Floor of the intercept's variance, like `slope_floor`."""
    p = _sigmoid(_log_odds(rows) + float(calibration_intercept(Sample.once(rows))[0]))
    return _line_floor(np.sqrt(p * (1 - p)), groups, float((p * (1 - p)).sum()))


def _line_floor(spread: Floats, groups: Ints, information: float) -> float:
    return float((np.bincount(groups, weights=spread) ** 2).sum()) / information**2


def _log_odds(rows: Rows) -> Floats:
    p = np.clip(rows.probability, EPS, 1 - EPS)
    return np.asarray(np.log(p / (1 - p)))


def _sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


def _recalibrated(sample: Sample) -> tuple[Floats, Floats]:
    """Intercept and slope [R] of a logistic regression of the outcome on the log odds, by Newton's
    method; nan if a threshold separates the classes, since then there is no maximum."""
    z, target = _log_odds(sample.rows), sample.rows.target
    w = np.asarray(sample.weights[:, sample.rows.at], dtype=np.float64)
    centre = ratio(w @ z, sample.total)[:, None]
    centred = z - centre
    a, b = np.zeros((len(w), 1)), np.zeros((len(w), 1))
    overlap = _overlapping(w, z, target)
    for _ in range(50):
        p = _sigmoid(a + b * centred)
        off, v = w * (target - p), w * p * (1 - p)
        g0, g1 = off.sum(axis=1), (off * centred).sum(axis=1)
        h00, h01 = v.sum(axis=1), (v * centred).sum(axis=1)
        h11 = (v * centred**2).sum(axis=1)
        det = np.where(overlap, h00 * h11 - h01**2, np.nan)
        step_a = ratio(h11 * g0 - h01 * g1, det)[:, None]
        step_b = ratio(h00 * g1 - h01 * g0, det)[:, None]
        # a long step may leave the region where the likelihood is almost a parabola
        shorter = 1 / np.maximum(1, np.maximum(np.abs(step_a), np.abs(step_b) * _scale(centred)))
        a, b = a + shorter * step_a, b + shorter * step_b
        moving = np.abs(step_a) + np.abs(step_b) * _scale(centred)
        if not np.nanmax(np.r_[0.0, moving[:, 0]]) > 1e-10:
            break
    # without convergence there is no estimate
    a, b = (np.where(moving < 1e-6, v, np.nan) for v in (a, b))
    return (a - b * centre)[:, 0], b[:, 0]


def _scale(centred: Floats) -> float:
    """How far a step of the slope moves the log odds. A model that says almost the same for every
    image has a slope of hundreds, which steps of 1 would never reach."""
    spread = float(np.std(centred)) if centred.size else 0.0
    return spread if spread > 0 else 1.0


def _overlapping(weights: Floats, z: Floats, target: Bools) -> Bools:
    """Whether a positive is strictly below some negative, and another strictly above. [R]"""

    def end(side: Bools, fold: Any, empty: float) -> Floats:
        return np.asarray(fold(np.where((weights > 0) & side, z, empty), axis=1, initial=empty))

    low_p, high_p = end(target, np.min, np.inf), end(target, np.max, -np.inf)
    low_n, high_n = end(~target, np.min, np.inf), end(~target, np.max, -np.inf)
    return np.asarray((low_p < high_n) & (low_n < high_p))
