"""A share of images with its interval, and predictive values, which follow from two shares."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.estimates import Estimate, Interval
from medcnn.statistics.intervals import Spread, how_many, interval_around, share_interval, too_few


def share_of(hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> Estimate:
    """Share of hits among images [n] of the patients `groups` [n]."""
    value, behind = float(hits.mean()) if len(hits) else math.nan, how_many(groups)
    few = too_few(behind) if len(hits) else "no such image"
    found = Interval(reason=few) if few else share_interval(hits, groups)
    return Estimate.of(value, found, count=len(hits), groups=behind)


def share_by_patient(hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> Estimate:
    """Mean over patients of the share of hits among their images; `count` counts patients."""
    _, at, images = np.unique(groups, return_inverse=True, return_counts=True)
    of = len(images)
    own = np.bincount(at, weights=hits, minlength=of) / images
    value = float(own.mean()) if of else math.nan
    if few := too_few(of) if of else "no such image":
        return Estimate(value=value, count=of, groups=of, note=few)
    # patients with one image each tell as much as images
    variance = max(float(own.var(ddof=1)) / of, value * (1 - value) / len(hits))
    spread = Spread(variance=variance, freedom=of - 1.0, noise=own - value)
    found = interval_around(value, spread, (0.0, 1.0), of)
    return Estimate.of(value, found, count=of, groups=of)


class TwoByTwo(TypedDict):
    """A yes-or-no question: the four counts, and how often each side is called correctly."""

    found: int
    missed: int
    alarms: int
    cleared: int
    sensitivity: Estimate
    specificity: Estimate


def two_by_two(
    positive: NDArray[np.bool_], called: NDArray[np.bool_], groups: NDArray[np.int64]
) -> TwoByTwo:
    return TwoByTwo(
        found=int((positive & called).sum()),
        missed=int((positive & ~called).sum()),
        alarms=int((~positive & called).sum()),
        cleared=int((~positive & ~called).sum()),
        sensitivity=share_of(called[positive], groups[positive]),
        specificity=share_of(~called[~positive], groups[~positive]),
    )


def predictive_values(sens: float, spec: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV by Bayes' theorem; nan if no image is called so."""
    true, false = sens * prevalence, (1 - spec) * (1 - prevalence)
    cleared, missed = spec * (1 - prevalence), (1 - sens) * prevalence
    ppv = true / (true + false) if true + false > 0 else math.nan
    npv = cleared / (cleared + missed) if cleared + missed > 0 else math.nan
    return ppv, npv


def predictive_estimates(
    sens: Estimate, spec: Estimate, prevalence: float
) -> tuple[Estimate, Estimate]:
    """PPV and NPV at a known prevalence.

    Sensitivity and specificity come from different images. So for the intervals, the distances of
    their bounds from the values are added in quadrature on the scale of log odds (method of
    variance estimates recovery: Zou and Donner 2008, Stat Med 27)."""

    def recovered(
        top: float, top_low: float, top_high: float, low: float, low_low: float, low_high: float
    ) -> Interval:
        """Interval of odds = `at` * top / low."""
        if math.isnan(top_low + low_low):
            return Interval(reason=sens.note or spec.note)
        if top == low == 0:
            return Interval(reason="no image is called so")
        if low == 0:  # infinite odds: only the lower end must be found
            return Interval(low=1 - 1 / (1 + at * _least(top, top_low) / low_high), high=1.0)
        if top == 0:
            return Interval(low=0.0, high=1 / (1 + _least(low, low_low) / top_high / at))
        with np.errstate(divide="ignore"):
            a, a1, a2 = np.log([top, top_low, top_high])
            b, b1, b2 = np.log([low, low_low, low_high])
        down = math.hypot(a - a1, b2 - b)
        up = math.hypot(a2 - a, b - b1)
        odds = (a - b - down, a - b + up)
        start = math.log(at)
        return Interval(low=_logistic(odds[0] + start), high=_logistic(odds[1] + start))

    at = prevalence / (1 - prevalence)
    ppv = recovered(sens.value, sens.low, sens.high, 1 - spec.value, 1 - spec.high, 1 - spec.low)
    at = 1 / at
    npv = recovered(spec.value, spec.low, spec.high, 1 - sens.value, 1 - sens.high, 1 - sens.low)
    values = predictive_values(sens.value, spec.value, prevalence)
    behind = {"count": sens.count + spec.count, "groups": min(sens.groups, spec.groups)}
    return Estimate.of(values[0], ppv, **behind), Estimate.of(values[1], npv, **behind)


def _least(value: float, low: float) -> float:
    """The numerator that, divided by the upper end of a share of 0, gives the lower end of the
    ratio: the same method for a ratio (Donner and Zou 2012, Stat Methods Med Res 21(4))."""
    return math.sqrt(value**2 - (value - low) ** 2)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
