"""Thresholds from validation: where sensitivity + specificity is largest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcnn.predictions import Predictions

DEFAULT_THRESHOLD = 0.5


def choose_thresholds(predictions: Predictions) -> tuple[float, ...] | None:
    """One threshold per output, or None where classes exclude each other.

    Args:
        predictions: of the validation split; never of the one that is reported.
    """
    if predictions.labels.exclusive:
        return None
    columns = zip(predictions.targets.T, predictions.probabilities.T, strict=True)
    return tuple(youden_threshold(target, probability) for target, probability in columns)


def youden_threshold(target: NDArray[np.float32], probability: NDArray[np.float64]) -> float:
    """Cut in the middle between two neighbouring probabilities at which Youden's J is largest.

    Of cuts that are equally good the one in the widest gap is taken: noise moves it least. 0.5
    where no cut is better than chance, or only one class was assessed.

    Args:
        target: 0, 1, or nan for "not assessed" [N].
        probability: [N] in [0, 1].

    Source: Youden 1950, Cancer 3(1), J = sensitivity + specificity - 1.
    """
    known = ~np.isnan(target)
    positive, probability = target[known] == 1, probability[known]
    levels, at = np.unique(probability, return_inverse=True)
    if positive.all() or not positive.any() or len(levels) < 2:
        return DEFAULT_THRESHOLD
    positives = np.bincount(at, weights=positive)
    negatives = np.bincount(at, weights=~positive)
    # a cut after level i calls every lower level negative
    j = (np.cumsum(negatives) / negatives.sum() - np.cumsum(positives) / positives.sum())[:-1]
    if j.max() < 1e-12:
        return DEFAULT_THRESHOLD
    equally_good = np.flatnonzero(j > j.max() - 1e-12)
    best = equally_good[np.argmax(np.diff(levels)[equally_good])]
    low, high = float(levels[best]), float(levels[best + 1])
    middle = (low + high) / 2
    # between adjacent floats the middle rounds to one of them; the lower one must stay negative
    return middle if middle > low else high
