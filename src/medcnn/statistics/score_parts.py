"""A score of some rows, with its interval and what a mean over several such scores needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medcnn.data.labels import LabelSpace
from medcnn.statistics.estimates import Interval
from medcnn.statistics.evaluation import Score
from medcnn.statistics.intervals import (
    ALL_ALIKE,
    NO_SPREAD,
    TAIL,
    Spread,
    different,
    freedom_of,
    how_many,
    interval_around,
    mean_interval,
    often_undefined,
    share_and_noise,
    spread_of_draws,
    spread_of_parts,
    too_few,
    variance_interval,
    within,
)
from medcnn.statistics.inverted import inverted_interval
from medcnn.statistics.metrics.table import Floats, Ints, Metric, Rows, Sample, right, samples


@dataclass(frozen=True, kw_only=True)
class Part:
    """A score of some rows, with its interval before the number of patients is checked, and
    everything a mean over several such scores needs.

    Attributes:
        noise: as in `intervals.Spread`; mass: [m] effect of noise on its number of positives.
        behind: numbers of the patients on the rarer side.
        terms: [T] of an inverted interval, and `resampled` [R, T].
    """

    rows: Rows
    value: float
    interval: Interval
    method: str
    noise: Floats
    mass: Floats
    behind: Ints
    groups: int
    terms: Floats | None = None
    resampled: Floats | None = None

    def score(self, name: str, metric: Metric, label: str | None = None) -> Score:
        interval, note = self.interval, ""
        one_label = self.rows.target.ndim == 1
        if math.isnan(self.value):
            note = f"not available: {why_undefined(metric, self.rows)}"
            interval = Interval()
        elif not interval.reason and (few := too_few(len(self.behind), metric.needs)):
            interval = Interval(reason=few)
        if interval.reason:
            note = f"interval not available: {interval.reason}"
        return Score(
            name=name,
            label=label,
            value=self.value,
            low=interval.low,
            high=interval.high,
            count=int(self.rows.images.sum()),
            positives=int(self.rows.target.sum()) if one_label else None,
            groups=self.groups,
            method="" if math.isnan(interval.low) else self.method,
            note=note,
            no_interval=interval.reason,
        )


def parts_of(
    rows: Rows,
    metrics: Mapping[str, Metric],
    labels: LabelSpace,
    groups: Ints,
    weights: Any,
    tail: float = TAIL,
) -> dict[str, Part]:
    """Each score of these rows.

    Args:
        groups: number of each prediction's patient [N], also of those without a row here.
        weights: how often each prediction is in each resample [R, N].
        tail: share on each side outside the intervals; those by an inverted test are always at
            95 %.
    """
    drawn, masses = _drawn(rows, metrics, labels, weights)
    once, own, every = Sample.once(rows), groups[rows.at], int(groups.max(initial=-1)) + 1
    at_all, size = how_many(own), np.bincount(own)
    positive = rows.target if rows.target.ndim == 1 else rows.target[:, 0]
    mass: Floats = np.bincount(own, weights=positive, minlength=every).astype(np.float64)
    drawn_mass = mass
    if len(masses):
        drawn_mass = (masses - rows.target.sum()) / math.sqrt(len(weights))
    parts = {}
    for name, metric in metrics.items():
        value = float(metric.kernel(labels)(once)[0])
        span = metric.span(labels)
        rarer = patients_behind(metric, rows, own)
        behind = len(rarer)
        noise, terms, resampled = np.zeros(every), None, None
        if math.isnan(value):
            interval = Interval(reason="not defined")
        elif metric.sides is not None:
            interval, noise = _mean_share(right(rows), metric.sides(rows), own, every, tail)
        elif metric.of_prevalence:
            hits = rows.target
            _, share, noise = share_and_noise(hits, np.ones_like(hits), own, every, tail)
            interval = variance_interval(share)
        elif metric.influence is not None:
            spread = spread_of_parts(metric.influence(rows), own, every)
            spread = _raised(spread, metric, rows, own)
            if math.isinf(metric.bounds[0]):
                # a line through the outcomes has the degrees of freedom of the rarer ones
                spread = replace(spread, freedom=min(spread.freedom, behind - 1.0))
            interval, noise = interval_around(value, spread, span, behind, tail), spread.noise
        else:
            resampled = drawn[name]
            if reason := often_undefined(resampled):
                interval, noise = Interval(reason=reason), np.zeros(len(weights))
            elif metric.signed is not None:
                terms = metric.signed(once)[0]
                freedom = freedom_of(size)
                interval = inverted_interval(terms, resampled, at_all, metric.power, freedom)
            else:
                spread = _raised(spread_of_draws(resampled, size[rarer]), metric, rows, own)
                noise = spread.noise
                # noise makes resamples larger again, by as much as it does the value
                centre = value if metric.unbiased else 2 * value - float(np.nanmean(resampled))
                inside = min(max(centre, span[0] + NO_SPREAD), span[1])
                interval = interval_around(inside, spread, span, behind, tail)
        if interval.reason == ALL_ALIKE and np.ptp(rows.probability) == 0:
            interval = Interval(reason="all probabilities are equal")
        parts[name] = Part(
            rows=rows,
            value=value,
            interval=within(interval, span),
            method=metric.method,
            noise=noise,
            mass=mass if resampled is None else drawn_mass,
            behind=rarer,
            groups=at_all,
            terms=terms,
            resampled=resampled,
        )
    return parts


def _drawn(
    rows: Rows, metrics: Mapping[str, Metric], labels: LabelSpace, weights: Any
) -> tuple[dict[str, Floats], Floats]:
    """Scores, or their terms, in each resample, where intervals need them; and the positives in
    each, of a single label."""
    kernels = {
        name: metric.signed or metric.kernel(labels)
        for name, metric in metrics.items()
        if metric.method in ("bootstrap", "inverted test")
    }
    blocks: dict[str, list[Floats]] = {name: [] for name in kernels}
    masses: list[Floats] = []
    for sample in samples(rows, weights):
        for name, kernel in kernels.items():
            blocks[name].append(kernel(sample))
        if rows.target.ndim == 1:
            masses.append(sample.sums(rows.positives))
    drawn = {name: np.concatenate(parts) for name, parts in blocks.items()}
    return drawn, np.concatenate(masses) if masses else np.zeros(0)


def _raised(spread: Spread, metric: Metric, rows: Rows, groups: Ints) -> Spread:
    """Replace its variance by the mean with the score's floor, if that is larger."""
    # if no row moves the score, there is no variance, and a floor does not change that
    if metric.floor is None or not spread.variance > NO_SPREAD**2:
        return spread
    mean = (spread.variance + metric.floor(rows, groups)) / 2
    return replace(spread, variance=max(spread.variance, mean))


def patients_behind(metric: Metric, rows: Rows, groups: Ints) -> Ints:
    """Numbers of the patients who determine the precision of a score: those on the rarer side,
    however many images the other has, unless all count alike."""
    if metric.of_all or (rows.target.ndim > 1 and not metric.sides):
        return different(groups)
    sides = list(metric.sides(rows)) if metric.sides else [rows.target, ~rows.target]
    if metric.decided:
        sides += [rows.decision, ~rows.decision]
    if metric.mistaken:
        sides.append(np.abs(rows.target - rows.probability) > 0.5)
    return min((different(groups[side]) for side in sides), key=len, default=groups[:0])


def _mean_share(
    hits: Any, sides: Sequence[Any], groups: Ints, num_groups: int, tail: float
) -> tuple[Interval, Floats]:
    """Interval and noise of the mean over `sides` of the share of hits."""
    found = [share_and_noise(hits, side, groups, num_groups, tail) for side in sides]
    noise = np.stack([n for _, _, n in found])
    if len(found) == 1:
        return found[0][1], noise[0]
    heavy = np.full(len(found), 1 / len(found))
    values, intervals = np.array([v for v, _, _ in found]), [i for _, i, _ in found]
    return mean_interval(values, intervals, heavy, noise), heavy @ noise


def why_undefined(metric: Metric, rows: Rows) -> str:
    if len(rows.target) == 0:
        return "no image was assessed"
    if rows.target.ndim > 1:
        return "only one class occurs"
    if rows.target.all():
        return "every image is positive"
    return metric.undefined if rows.target.any() else "no image is positive"
