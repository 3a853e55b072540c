"""Computes every score with its interval and counts."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.estimates import Interval
from medcnn.statistics.evaluation import Average, Evaluation, Score
from medcnn.statistics.intervals import (
    different,
    freedom_of,
    group_numbers,
    how_many,
    mean_interval,
    resampling_weights,
    too_few,
    within,
)
from medcnn.statistics.inverted import inverted_interval
from medcnn.statistics.metrics.table import METRICS, Assessed, Floats, Ints, Metric, Scope
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.score_parts import Part, parts_of
from medcnn.system.errors import listed
from medcnn.system.progress import track

MANY = 20
"""Number of labels from which progress is shown."""


def evaluate(
    predictions: Predictions,
    *,
    resamples: int = 1000,
    seed: int = 0,
    names: Collection[str] | None = None,
) -> Evaluation:
    """All scores that are defined for the kind of label, overall and per class.

    Args:
        resamples: number of times that patients are drawn; 1 or more.
        seed: of the draws; the same seed gives the same intervals.
        names: of scores, if not all are wanted; out-of-fold predictions always get all.

    Out-of-fold predictions are scored within each fold and averaged (`folds.cross_validated`).
    """
    if predictions.folds:
        from medcnn.statistics.folds import cross_validated

        return cross_validated([predictions], resamples=resamples, seed=seed).evaluation
    thresholds = predictions.thresholds
    if thresholds is None and not predictions.labels.exclusive:
        thresholds = (0.5,) * len(predictions.labels.outputs)
    return Evaluation(
        labels=predictions.labels,
        split=str(predictions.split),
        images=len(predictions.image_ids),
        groups=group_numbers(predictions.groups)[1],
        unreadable=len(predictions.unreadable),
        thresholds=thresholds,
        resamples=resamples,
        seed=seed,
        scores=tuple(_scores(predictions, resamples, seed, names)),
        predictions=predictions.digest,
    )


def _scores(
    predictions: Predictions, resamples: int, seed: int, names: Collection[str] | None
) -> list[Score]:
    labels, assessed = predictions.labels, Assessed(predictions=predictions)
    wanted = METRICS if names is None else names
    metrics = {n: m for n, m in METRICS.items() if labels.kind in m.kinds and n in wanted}
    groups, _ = group_numbers(predictions.groups)
    weights = resampling_weights(predictions.groups, resamples, seed)
    found: dict[str, list[Part]] = {name: [] for name in metrics}
    pooled: dict[str, Part] = {}
    for scope in Scope:
        scoped = {n: m for n, m in metrics.items() if m.scope(labels) is scope}
        every = assessed.of(scope) if scoped else []
        for rows in track(every, len(every), "scores") if len(every) > MANY else every:
            for name, part in parts_of(rows, scoped, labels, groups, weights).items():
                found[name].append(part)
        if scope is Scope.LABEL and len(labels.outputs) > 1:
            pooled = parts_of(assessed.pooled, scoped, labels, groups, weights)
    scores = []
    for name, metric in metrics.items():
        parts, scope = found[name], metric.scope(labels)
        if scope is Scope.TABLE or labels.kind is Kind.BINARY:
            scores.append(parts[0].score(name, metric))
            continue
        names = labels.outputs[1:] if scope is Scope.CUT else labels.outputs
        averages = [_mean(name, metric, Average.MACRO, names, parts, groups, labels)]
        if name in pooled:
            micro = replace(pooled[name].score(name, metric), average=Average.MICRO)
            weighted = _mean(name, metric, Average.WEIGHTED, names, parts, groups, labels)
            averages += [micro, weighted]
        own = [p.score(name, metric, label) for label, p in zip(names, parts, strict=True)]
        scores += [*averages, *own]
    return scores


def _mean(
    name: str,
    metric: Metric,
    average: Average,
    names: Sequence[str],
    parts: Sequence[Part],
    groups: Ints,
    labels: LabelSpace,
) -> Score:
    """Mean over the labels for which the score is defined."""
    defined = [p for p in parts if not math.isnan(p.value)]
    missing = [n for n, p in zip(names, parts, strict=True) if math.isnan(p.value)]
    note = f"mean over {len(defined)} of {len(parts)} labels"
    if missing:
        note += f", without {listed(missing)}"
    seen = np.any([p.rows.images for p in parts], axis=0)
    score = Score(
        name=name,
        label=None,
        average=average,
        count=int(seen.sum()),
        positives=None,
        groups=how_many(groups[seen]),
        note=note,
    )
    heavy = np.ones(len(defined))
    if average is Average.WEIGHTED:
        heavy = np.array([float(p.rows.target.sum()) for p in defined])
    if not heavy.sum():
        return replace(score, note="not available: defined for no label")
    heavy = heavy / heavy.sum()
    values = np.array([p.value for p in defined])
    interval = within(
        _mean_interval(metric, values, heavy, defined, groups, average), metric.span(labels)
    )
    method = defined[0].method if metric.signed else "mover"
    few = sum(len(p.behind) < metric.needs for p in defined)
    if few and not interval.reason:
        note += f"; {few} of these have too little data for a separate interval"
    if interval.reason:
        note += f"; interval not available: {interval.reason}"
    return replace(
        score,
        value=float(heavy @ values),
        low=interval.low,
        high=interval.high,
        method="" if interval.reason else method,
        note=note,
        no_interval=interval.reason,
    )


def _mean_interval(
    metric: Metric,
    values: Floats,
    heavy: Floats,
    parts: Sequence[Part],
    groups: Ints,
    average: Average,
) -> Interval:
    reasons = [p.interval.reason for p in parts if p.interval.reason]
    if reasons:
        return Interval(reason=reasons[0])
    # a single label may have too few patients, but all together must have enough
    together = different(np.concatenate([p.behind for p in parts]))
    if few := too_few(len(together), metric.needs):
        return Interval(reason=few)
    if metric.signed is not None:
        # a mean of sums of powers is the sum of all their terms
        root = heavy ** (1 / metric.power)
        terms = np.concatenate([h * p.terms for h, p in zip(root, parts, strict=True)])
        drawn = np.concatenate([h * p.resampled for h, p in zip(root, parts, strict=True)], axis=1)
        own = groups[np.any([p.rows.images for p in parts], axis=0)]
        freedom = freedom_of(np.bincount(own))
        return inverted_interval(terms, drawn, how_many(own), metric.power, freedom)
    if metric.of_prevalence or not metric.unbiased:
        return Interval(reason="no interval was found reliable for means of this score")
    shift = None
    if average is Average.WEIGHTED:
        # the shares of the labels are themselves estimates from these patients
        total = sum(float(p.rows.target.sum()) for p in parts)
        shift = (values - heavy @ values) @ np.stack([p.mass for p in parts]) / total
    noise = np.stack([p.noise for p in parts])
    return mean_interval(values, [p.interval for p in parts], heavy, noise, shift)
