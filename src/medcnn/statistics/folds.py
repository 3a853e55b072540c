"""Out-of-fold predictions: what the model of each fold said about the patients it never saw.

A score is computed within each fold and averaged. Scores of all folds pooled in one table would
rank images of different models against each other: if their probabilities differ in scale, the
pooled AUROC is lower than that of any of them.

The interval comes from resampling patients, each with all of its images and in its fold; a resample
is scored as the set itself was. The mean of each fold is found on the patients of that fold, so
each fold costs one degree of freedom. The influence function within folds (LeDell, Petersen and van
der Laan 2015, Electronic Journal of Statistics 9(1)) covers only the AUROC, and shows no spread if
a fold has a single patient with a label. `benchmarks/crossvalidation.py` simulates how often the
interval contains the truth. The spread of the folds is not an interval: they share training
patients, so it is too narrow (Nadeau and Bengio 2003, Machine Learning 52(3)).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medcnn.statistics.estimates import Interval
from medcnn.statistics.evaluation import Average, Evaluation, Score
from medcnn.statistics.intervals import (
    Floats,
    different,
    group_numbers,
    how_many,
    interval_around,
    often_undefined,
    resampling_weights,
    spread_of_draws,
    too_few,
    within,
)
from medcnn.statistics.metrics.table import METRICS, Assessed, Metric, Rows, Scope, values
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.score_parts import patients_behind
from medcnn.system.errors import DataError

OUT_OF_FOLD = "oof"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """Attributes:
    evaluation: the averages over all folds of all repeats.
    by_fold: score -> its overall value in each fold, one row per repeat; nan if undefined.
    """

    evaluation: Evaluation
    by_fold: Mapping[str, Sequence[Sequence[float]]]


def out_of_fold(parts: Sequence[Predictions], order: Sequence[str], repeat: int) -> Predictions:
    """The test predictions of all folds of a repeat as one table.

    Args:
        parts: of fold 1, fold 2, ...
        order: ids of all images, in the order of the manifest.
        repeat: from 1.

    Raises:
        DataError: an image is in two folds, or in none.
    """
    first = parts[0]
    ids = [i for p in parts for i in (*p.image_ids, *(image for image, _ in p.unreadable))]
    if sorted(ids) != sorted(order):
        raise DataError(
            f"the folds hold {len(set(ids)):,} different images in {len(ids):,} rows, but the set "
            f"has {len(order):,}. It has changed since the folds were trained: start again in "
            "another run_dir."
        )
    place = {image: at for at, image in enumerate(order)}
    looks = [p.looks for p in parts if p.looks is not None]
    joined = replace(
        first,
        split=OUT_OF_FOLD if repeat == 1 else f"{OUT_OF_FOLD}_{repeat}",
        image_ids=tuple(i for p in parts for i in p.image_ids),
        groups=tuple(g for p in parts for g in p.groups),
        targets=np.concatenate([p.targets for p in parts]),
        logits=np.concatenate([p.logits for p in parts]),
        categories=tuple(c for p in parts for c in p.categories),
        attributes={
            n: tuple(v for p in parts for v in p.attributes.get(n, ("",) * len(p.image_ids)))
            for n in sorted({n for p in parts for n in p.attributes})
        },
        lines=tuple(line for p in parts for line in p.lines),
        looks=np.concatenate(looks) if len(looks) == len(parts) else None,
        folds=tuple(f for f, p in enumerate(parts, 1) for _ in p.image_ids),
        by_fold=tuple(p.readout for p in parts),
        unreadable=tuple(u for p in parts for u in p.unreadable),
        provenance={"folds": [p.provenance for p in parts]},
    )
    return joined.only(
        sorted(range(len(joined.image_ids)), key=lambda i: place[joined.image_ids[i]])
    )


def averaged(metric: Metric) -> bool:
    """Whether the mean over folds means something: noise alone makes a calibration error larger in
    a small fold, so that mean would say more about the size of the folds than about the model."""
    return metric.unbiased and metric.signed is None and not metric.of_prevalence


def cross_validated(
    repeats: Sequence[Predictions],
    names: Collection[str] = (),
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> CrossValidated:
    """The scores of a cross-validation.

    Args:
        repeats: out-of-fold predictions of the same images, one table per repeat.
        names: of scores; empty means all that can be averaged.
        resamples: of patients; 1 or more.
        seed: of the draws.
    """
    first = repeats[0]
    labels, (groups, num_groups) = first.labels, group_numbers(first.groups)
    weights = resampling_weights(first.groups, resamples, seed)
    parts = [[(weights[:, rows], p) for rows, p in of.each_fold()] for of in repeats]
    scores: list[Score] = []
    by_fold = {}
    for name, metric in METRICS.items():
        if labels.kind not in metric.kinds or not averaged(metric):
            continue
        if names and name not in names:
            continue
        every = [part for of in parts for part in of]
        once = np.stack([values(p, name)[0] for _, p in every])  # [folds, labels]
        drawn = np.stack([values(p, name, w) for w, p in every])  # [folds, R, labels]
        rows = [Assessed(predictions=p).of(metric.scope(labels)) for p in repeats]
        made = _Made(name, metric, once, drawn, rows, groups, first)
        scores += made.scores()
        own = iter(_mean(once.T))  # the mean over labels, of each fold
        by_fold[name] = [[float(next(own)) for _ in of] for of in parts]
    evaluation = Evaluation(
        labels=labels,
        split=OUT_OF_FOLD,
        images=len(first.image_ids),
        groups=num_groups,
        unreadable=len(first.unreadable),
        thresholds=None,
        resamples=resamples,
        seed=seed,
        scores=tuple(scores),
        predictions=first.digest if len(repeats) == 1 else "",
    )
    return CrossValidated(evaluation=evaluation, by_fold=by_fold)


@dataclass(frozen=True, slots=True)
class _Made:
    """One score in all folds: its values [F, L] and resampled values [F, R, L]."""

    name: str
    metric: Metric
    once: Floats
    drawn: Floats
    rows: Sequence[Sequence[Rows]]
    groups: np.ndarray
    first: Predictions

    @property
    def folds(self) -> int:
        """Models per repeat."""
        return len(self.first.by_fold)

    def scores(self) -> list[Score]:
        """The overall one, then one per label or cut where there are several."""
        labels, scope = self.first.labels, self.metric.scope(self.first.labels)
        names = labels.outputs[1:] if scope is Scope.CUT else labels.outputs
        if self.once.shape[1] == 1:
            return [self._of([0], None)]
        return [
            self._of(range(len(names)), None),
            *(self._of([at], name) for at, name in enumerate(names)),
        ]

    def _of(self, columns: Sequence[int], label: str | None) -> Score:
        """The mean over folds, and over these labels, where it is defined."""
        columns = list(columns)
        by_label = _mean(self.once[:, columns])
        defined = [c for c, v in zip(columns, by_label, strict=True) if not math.isnan(v)]
        rows = [self.rows[0][c] for c in columns]
        seen = np.any([r.images for r in rows], axis=0)
        score = Score(
            name=self.name,
            label=label,
            average=Average.MACRO if len(columns) > 1 else None,
            count=int(seen.sum()),
            positives=int(rows[0].target.sum()) if label is not None else None,
            groups=how_many(self.groups[seen]),
        )
        if not defined:
            return replace(score, note="not available: defined in no fold")
        value = float(_mean(by_label[:, None])[0])
        interval = self._interval(value, defined)
        folds = ~np.isnan(self.once[:, defined])
        notes = []
        if len(columns) == 1 and not folds.all():
            notes.append(
                f"mean over {folds.sum()} of {folds.size} folds, not defined in the others"
            )
        if len(columns) > 1:
            notes.append(f"mean over {len(defined)} of {len(columns)} labels")
        if interval.reason:
            notes.append(f"interval not available: {interval.reason}")
        return replace(
            score,
            value=value,
            low=interval.low,
            high=interval.high,
            method="" if interval.reason else "bootstrap",
            note="; ".join(notes),
        )

    def _interval(self, value: float, defined: list[int]) -> Interval:
        # a label that a resample lacks makes its mean over labels undefined, not another one
        resampled = np.mean([_mean(self.drawn[..., c]) for c in defined], axis=0)
        if reason := often_undefined(resampled):
            return Interval(reason=reason)
        span = self.metric.span(self.first.labels)
        behind = [self._behind(self.rows[0][c]) for c in defined]
        size = np.bincount(self.groups)[different(np.concatenate(behind))]
        together = len(size)
        # the mean of each fold is found on its own patients: it costs one of them
        if few := too_few(together, self.metric.needs + self.folds - 1):
            return Interval(reason=f"{few} in {self.folds} folds")
        spread = spread_of_draws(resampled, size)
        left = (together - self.folds) / (together - 1)
        spread = replace(spread, variance=spread.variance / left, freedom=spread.freedom * left)
        return within(interval_around(value, spread, span, together), span)

    def _behind(self, rows: Rows) -> np.ndarray:
        return patients_behind(self.metric, rows, self.groups[rows.at])


def _mean(found: Floats) -> Floats:
    """Mean over the first axis of the defined values; nan if there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an empty mean, which is nan
        return np.asarray(np.nanmean(found, axis=0))
