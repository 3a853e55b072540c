"""Interval of a sum of absolute values or squares, such as a calibration error: noise makes it too
large."""

from __future__ import annotations

import math

import numpy as np

from medcnn.statistics.estimates import Interval
from medcnn.statistics.intervals import (
    ALL_ALIKE,
    NO_SPREAD,
    TAIL,
    Floats,
    often_undefined,
    students,
)


def inverted_interval(
    terms: Floats, resampled: Floats, num_groups: int, power: int = 1, freedom: float = math.inf
) -> Interval:
    """Interval of the true sum of |terms|^power, of which `terms` [T] are noisy estimates.

    Noise makes the sum too large, and resampling adds the same noise once more. So the terms are
    scaled by s, resampled noise is added, and the interval holds every s for which the found sum is
    a usual outcome: a test that is inverted along one line. s = 0 says that the truth is 0.

    Outcomes spread about their mean as Student's t does, and, as those of a share, with the root of
    what is true: few patients who happen to be predicted well also seem to agree. To make the noise
    itself larger would only make the sum larger, and so the upper end lower.

    Args:
        resampled: [R, T], nan if a resample left the score undefined.
        freedom: degrees of freedom of the resamples' variance, see `freedom_of`.
    """
    if num_groups < 2:
        return Interval(reason="fewer than 2 groups")
    if reason := often_undefined(resampled):
        return Interval(reason=reason)
    noise = resampled[~np.isnan(resampled).any(axis=1)] - terms
    found = float((np.abs(terms) ** power).sum())
    if np.ptp(noise) < NO_SPREAD:
        return Interval(reason=ALL_ALIKE)
    noise *= math.sqrt(num_groups / (num_groups - 1))
    wider = students(freedom) / students(math.inf)

    def crossing(quantile: float) -> float:
        """The scale at which this share of the outcomes, which grow with it, lies below `found`."""
        low, high = 0.0, 8.0
        for _ in range(16):
            middle = (low + high) / 2
            outcomes = (np.abs(middle * terms + noise) ** power).sum(axis=1)
            mean = outcomes.mean()
            # squares spread with what is true by themselves
            root = math.sqrt(max(1.0, middle)) if power == 1 else 1.0
            outcomes = mean + wider * root * (outcomes - mean)
            short = np.count_nonzero(outcomes < found) > quantile * len(outcomes)
            low, high = (middle, high) if short else (low, middle)
        return (low + high) / 2 if low > 0 else 0.0

    # a sum that is small even for noise alone still leaves room up to what was found
    least, most = crossing(1 - TAIL / 2), max(crossing(TAIL / 2), 1.0)
    return Interval(low=least**power * found, high=most**power * found)
