"""A model at home and at another hospital: differences of scores between unrelated patients, and
what the other hospital's prevalences would be if nothing else had changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.differences import Difference, two_sided
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.implied import implied_shares, tables
from medcnn.statistics.intervals import (
    TAIL,
    Floats,
    group_numbers,
    often_undefined,
    percentile_interval,
    resampling_weights,
    spread_of_draws,
    students,
    too_few,
)
from medcnn.statistics.metrics.table import METRICS, Assessed, values
from medcnn.statistics.points import PointResult, evaluate_readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.score_parts import patients_behind
from medcnn.statistics.subgroups import NO_MEAN

COMPARED = (
    *("auroc", "average_precision", "balanced_accuracy"),
    *("calibration_intercept", "calibration_slope", "brier"),
)
RESAMPLES = 1000


def transported(
    there: Predictions,
    here: Predictions,
    names: Sequence[str] = COMPARED,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """Scores `here` minus those `there`, first the mean over labels defined in both, then each.
    Exclusive classes have no mean of a score in NO_MEAN.

    Patients of the two are independent, so the variances of the resampled scores add up (Welch).
    """
    weights = [
        resampling_weights(p.groups, resamples, seed + i) for i, p in enumerate((there, here))
    ]
    found: list[Difference] = []
    for name in names:
        metric = METRICS[name]
        if there.labels.kind not in metric.kinds:
            continue
        once = [values(p, name)[0] for p in (there, here)]
        drawn = [values(p, name, w) for p, w in zip((there, here), weights, strict=True)]
        both = np.flatnonzero(~np.isnan(once[0]) & ~np.isnan(once[1]))
        outputs = there.labels.outputs
        meaningless = there.labels.exclusive and name in NO_MEAN
        alone = not meaningless and (len(both) == 1 or len(once[0]) != len(outputs))
        mean = (None, both[:0] if meaningless else both)
        questions = [mean, *((outputs[k], np.array([k])) for k in both if not alone)]
        for label, columns in questions:
            if len(columns):
                found.append(_difference(name, label, columns, once, drawn, (there, here)))
    return sorted(found, key=lambda d: d.label is not None)


def _difference(
    name: str,
    label: str | None,
    columns: NDArray[np.int64],
    once: Sequence[Floats],
    drawn: Sequence[Floats],
    both: tuple[Predictions, Predictions],
) -> Difference:
    metric = METRICS[name]
    first, second = (float(v[columns].mean()) for v in once)
    rows = [Assessed(predictions=p).of(metric.scope(p.labels)) for p in both]
    result = Difference(
        score=name,
        label=label,
        better={True: 1, False: -1, None: 0}[metric.higher_is_better],
        reference=first,
        other=second,
        method="bootstrap",
        count=int(np.any([rows[1][k].images for k in columns], axis=0).sum()),
        groups=len(set(both[1].groups)),
    )
    variances, freedoms = [], []
    for p, of, draws in zip(both, rows, drawn, strict=True):
        numbers, _ = group_numbers(p.groups)
        behind = max((patients_behind(metric, of[k], numbers[of[k].at]) for k in columns), key=len)
        mean = draws[:, columns].mean(axis=1)
        if few := too_few(len(behind), metric.needs) or often_undefined(mean):
            return replace(result, note=f"interval not available: {few}")
        spread = spread_of_draws(mean, np.bincount(numbers)[behind])
        variances.append(spread.variance)
        freedoms.append(spread.freedom)
    total = sum(variances)
    if not total > 0:
        same = "interval not available: the value is the same in every resample"
        return replace(result, note=same)
    freedom = total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    error = math.sqrt(total)
    reach, difference = students(round(freedom, 3)) * error, result.difference
    low, high = metric.span(both[0].labels)
    return replace(
        result,
        low=max(difference - reach, low - high),
        high=min(difference + reach, high - low),
        p=two_sided(difference / error, freedom),
        error=error,
        freedom=freedom,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A stored threshold at both hospitals.

    Attributes:
        there, here: what it does.
        changes: of sensitivity and specificity, here minus there, with their intervals.
        same: threshold that is at least as sensitive here as the stored one is there.
        specificity: of that threshold, on the same images that it was found on; nan without
            negatives.
    """

    there: PointResult
    here: PointResult
    changes: Mapping[str, Estimate]
    same: float
    specificity: float


def cuts(
    there: Predictions, here: Predictions, prevalence: float | Mapping[str, float] | None = None
) -> list[Cut]:
    """Every operating point of every label that was assessed at both hospitals.

    Args:
        prevalence: for which predictive values here hold, as in `evaluate_readout`.
    """
    earlier = {(p.point, p.label): p for p in evaluate_readout(there).points}
    found = []
    for point in evaluate_readout(here, prevalence).points:
        before = earlier.get((point.point, point.label))
        if before is None or math.isnan(before.sensitivity.value):
            continue
        if math.isnan(point.sensitivity.value):
            continue
        k = here.labels.outputs.index(point.label)
        target, p = here.targets[:, k], here.probabilities[:, k]
        positive = p[target == 1]
        # as many positives must lie at the threshold or above it
        least = max(1, math.ceil(before.sensitivity.value * len(positive) - 1e-9))
        same = float(np.sort(positive)[::-1][least - 1])
        negative = p[target == 0]
        found.append(
            Cut(
                there=before,
                here=point,
                changes={
                    "sensitivity": _change(before.sensitivity, point.sensitivity),
                    "specificity": _change(before.specificity, point.specificity),
                },
                same=same,
                specificity=float((negative < same).mean()) if len(negative) else math.nan,
            )
        )
    return found


def _change(before: Estimate, now: Estimate) -> Estimate:
    """Source: Newcombe 1998, Statistics in Medicine 17(8), from the intervals of two shares."""
    change = now.value - before.value
    return Estimate(
        value=change,
        low=change - math.hypot(now.value - now.low, before.high - before.value),
        high=change + math.hypot(now.high - now.value, before.value - before.low),
        count=now.count,
        groups=now.groups,
        note=now.note or before.note,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevalence:
    """Of one label.

    Attributes:
        there, here: share of the assessed images with the label; nan if none was assessed.
        estimated: share of the same images here, or of all if none was assessed, from the model's
            answers alone, if only prevalences had changed.
    """

    label: str
    there: float
    here: float
    estimated: Estimate


def prevalences(
    there: Predictions, here: Predictions, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Prevalence]:
    """How often each label is there here, by the answers here and the confusion matrix of there."""
    weights = [
        resampling_weights(p.groups, resamples, seed + i) for i, p in enumerate((there, here))
    ]
    ones = [np.ones((1, len(p.groups))) for p in (there, here)]
    labels, found = there.labels, []
    for columns in tables(len(labels.outputs), labels.exclusive):
        judged = here.only(np.flatnonzero(_answering(here, columns)))
        once = _shares(there, here, columns, ones)[0]
        draw = np.random.default_rng((seed, len(weights)))
        drawn = _shares(there, here, columns, weights, draw)
        plain = [np.ones_like(w) for w in weights]
        # of home resampled and here as it is, and the other way round
        parts = [
            _shares(there, here, columns, (weights[0], plain[1]), draw),
            _shares(there, here, columns, (plain[0], weights[1])),
        ]
        for at, k in enumerate(columns):
            groups = len(set(judged.groups))
            tail = _tail([part[:, at] for part in parts], (there, judged), k)
            interval = percentile_interval(drawn[:, at], groups, tail)
            ends = once[at], interval.low, interval.high
            if interval.reason:  # such answers say nothing
                ends = (math.nan,) * 3
            value, low, high = (float(np.clip(v, 0, 1)) for v in ends)
            estimate = Estimate(
                value=value,
                low=low,
                high=high,
                count=len(judged.groups),
                groups=groups,
                note=interval.reason,
            )
            found.append(
                Prevalence(
                    label=labels.outputs[k],
                    there=_share(there.targets[:, k]),
                    here=_share(here.targets[:, k]),
                    estimated=estimate,
                )
            )
    return found


def _tail(drawn: Sequence[Floats], both: tuple[Predictions, Predictions], k: int) -> float:
    """Share of resamples beyond each end, fewer than 2.5 % of them, since percentiles of few
    patients are too narrow by Student's t and by g / (g - 1).

    Args:
        drawn: estimates [R] with the patients of home resampled, and with those of here.

    At home the confusion matrix rests on the rarer side of label `k`, here the answers on all.

    Sources: expanded percentiles, Hesterberg 2015, American Statistician 69(4); Welch 1947,
    Biometrika 34(1/2).
    """
    from scipy.special import ndtr  # slow to import

    there, here = (group_numbers(p.groups)[0] for p in both)
    sides = (np.bincount(there[both[0].targets[:, k] == side]) for side in (0, 1))
    rarer = min(sides, key=np.count_nonzero)
    spreads = [
        spread_of_draws(of, size[size > 0])
        for of, size in zip(drawn, (rarer, np.bincount(here)), strict=True)
    ]
    total = sum(s.variance for s in spreads)
    if not total > 0:
        return TAIL
    freedom = total**2 / sum(s.variance**2 / s.freedom for s in spreads)
    plain = sum(float(np.nanvar(of)) for of in drawn)
    return float(ndtr(-students(round(freedom, 3)) * math.sqrt(total / plain)))


def _share(target: NDArray[np.float32]) -> float:
    known = target[~np.isnan(target)]
    return float(known.mean()) if len(known) else math.nan


def _answering(here: Predictions, columns: list[int]) -> NDArray[np.bool_]:
    """The assessed images [N], since others may be of other patients than those with a label; all
    if none was assessed."""
    assessed = ~np.isnan(here.targets[:, columns]).any(axis=1)
    return np.asarray(assessed if assessed.any() else ~assessed)


def _shares(
    there: Predictions,
    here: Predictions,
    columns: list[int],
    weights: Sequence[NDArray[Any]],
    draw: np.random.Generator | None = None,
) -> Floats:
    """`implied_shares` of the assessed images here [R, labels]."""
    parts = (there.targets, there.decisions, here.decisions)
    target, said, answers = (v[:, columns].astype(np.float64) for v in parts)
    asked = _answering(here, columns)
    truth = (target, said, group_numbers(there.groups)[0])
    return implied_shares(truth, answers[asked], (weights[0], weights[1][:, asked]), draw)
