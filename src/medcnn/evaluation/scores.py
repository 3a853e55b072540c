"""Every score with its interval and its count, and the file `metrics.json` that holds them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError, listed
from medcnn.evaluation.intervals import (
    FEW_GROUPS,
    LEVEL,
    MOST_UNDEFINED,
    Interval,
    absolute_sum_interval,
    group_numbers,
    percentile_interval,
    resampling_weights,
    unanimous_interval,
)
from medcnn.labels import Kind, LabelSpace
from medcnn.metrics import METRICS, Floats, Metric, Rows, assessed_rows, signed_terms, values
from medcnn.predictions import Predictions

SCHEMA = 1

FEWEST_WHOLE = 0.1
"""Share of the resamples in which all labels of a macro mean must occur for it to have an interval:
a rare label leaves many without a case, and 100 of 1,000 still show the spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number that can be defended.

    Attributes:
        name: key of `metrics.METRICS`.
        label: class name; None for the value of the whole table, the macro mean, or a binary set.
        value: nan where not defined; `note` says why.
        low: lower end of the 95 % interval, nan where there is none; `note` says why.
        high: upper end.
        count: images that went in.
        positives: of these with the label; None where that has no meaning.
        groups: patients (or lesions) behind the images.
        note: empty, a caution, `interval not available: ...` or `not available: ...`.
    """

    name: str
    label: str | None
    value: float
    low: float
    high: float
    count: int
    positives: int | None
    groups: int
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Score:
        numbers = {
            key: math.nan if stored[key] is None else stored[key]
            for key in ("value", "low", "high")
        }
        return cls(**{**stored, **numbers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of one split.

    Attributes:
        images: rows with a prediction.
        groups: patients (or lesions) behind them.
        unreadable: images of the split that have no prediction.
        thresholds: in use for the decisions, one per output; None where classes exclude each other.
        resamples: behind each interval.
    """

    labels: LabelSpace
    split: str
    images: int
    groups: int
    unreadable: int
    thresholds: tuple[float, ...] | None
    resamples: int
    seed: int
    scores: tuple[Score, ...]

    def find(self, name: str, label: str | None = None) -> Score:
        """Raises KeyError where this kind of label has no such score."""
        for score in self.scores:
            if (score.name, score.label) == (name, label):
                return score
        raise KeyError((name, label))

    def to_json(self) -> dict[str, Any]:
        return {
            "labels": self.labels.to_json(),
            "split": self.split,
            "images": self.images,
            "groups": self.groups,
            "unreadable": self.unreadable,
            "thresholds": self.thresholds,
            "level": LEVEL,
            "resamples": self.resamples,
            "seed": self.seed,
            "scores": [score.to_json() for score in self.scores],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evaluation:
        rest = {k: v for k, v in stored.items() if k != "level"}
        thresholds = stored["thresholds"]
        return cls(
            **{
                **rest,
                "labels": LabelSpace.from_json(stored["labels"]),
                "thresholds": None if thresholds is None else tuple(thresholds),
                "scores": tuple(Score.from_json(s) for s in stored["scores"]),
            }
        )


def evaluate(predictions: Predictions, *, resamples: int = 1000, seed: int = 0) -> Evaluation:
    """Every score that is defined for the kind of label, overall and per class.

    Args:
        resamples: patients are drawn anew this many times; 1 or more.
        seed: of the draws; the same seed gives the same intervals.
    """
    numbers, num_groups = group_numbers(predictions.groups)
    weights = resampling_weights(predictions.groups, resamples, seed)
    scores: list[Score] = []
    for name, metric in METRICS.items():
        if predictions.labels.kind not in metric.kinds:
            continue
        found = values(predictions, name)[0]
        drawn = _drawn(predictions, name, weights)
        names = _label_names(metric, predictions.labels)
        parts = [
            _score(name, names[k], float(found[k]), rows, numbers[at], drawn[k])
            for k, (at, rows) in enumerate(assessed_rows(predictions, metric))
        ]
        scores += parts if names == (None,) else [_macro(predictions, parts, drawn), *parts]
    thresholds = predictions.thresholds
    if thresholds is None and not predictions.labels.exclusive:
        thresholds = (0.5,) * len(predictions.labels.outputs)
    return Evaluation(
        labels=predictions.labels,
        split=str(predictions.split),
        images=len(predictions.image_ids),
        groups=num_groups,
        unreadable=len(predictions.unreadable),
        thresholds=thresholds,
        resamples=resamples,
        seed=seed,
        scores=tuple(scores),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One label's score in each resample: values [R], or for a sum of absolutes its signed terms
    [R, T] and those of the rows themselves [T]."""

    values: Floats
    terms: Floats | None = None

    def interval(self, num_groups: int) -> Interval:
        if self.terms is None:
            return percentile_interval(self.values, num_groups)
        return absolute_sum_interval(self.terms, self.values, num_groups)


def _drawn(predictions: Predictions, name: str, weights: NDArray[Any]) -> list[Drawn]:
    if METRICS[name].signed is None:
        return [Drawn(values=column) for column in values(predictions, name, weights).T]
    own = signed_terms(predictions, name)
    resampled = signed_terms(predictions, name, weights)
    return [Drawn(values=r, terms=t[0]) for t, r in zip(own, resampled, strict=True)]


def _label_names(metric: Metric, labels: LabelSpace) -> tuple[str | None, ...]:
    """The label of each column of `metrics.values`."""
    named = metric.per_label(labels) and labels.kind is not Kind.BINARY
    return labels.outputs if named else (None,)


def _score(
    name: str,
    label: str | None,
    value: float,
    rows: Rows,
    groups: NDArray[np.int64],
    drawn: Drawn,
) -> Score:
    """One label against the rest, or the whole table where `rows` has a column per class."""
    metric = METRICS[name]
    one_label = rows.target.ndim == 1
    if metric.share_of is not None and one_label:
        behind = len(np.unique(groups[metric.share_of(rows.target)]))
    elif one_label:
        # what can be said rests on the rarer side, however many images stand on the other
        behind = min(len(np.unique(groups[side])) for side in (rows.target, ~rows.target))
    else:
        behind = len(np.unique(groups))
    num_groups = len(np.unique(groups))
    interval, note = Interval(), ""
    if math.isnan(value):
        note = f"not available: {_why_undefined(rows)}"
    elif metric.share_of is not None and value in (0, 1):
        interval = unanimous_interval(value, behind)
    else:
        interval = drawn.interval(num_groups)
        if behind < FEW_GROUPS:
            note = f"rests on {behind} groups only: the interval may be too narrow"
    if interval.reason:
        note = f"interval not available: {interval.reason}"
    return Score(
        name=name,
        label=label,
        value=value,
        low=interval.low,
        high=interval.high,
        count=len(rows.target),
        positives=int(rows.target.sum()) if one_label else None,
        groups=num_groups,
        note=note,
    )


def _macro(predictions: Predictions, parts: list[Score], drawn: list[Drawn]) -> Score:
    """Unweighted mean over the labels where the score is defined."""
    numbers, _ = group_numbers(predictions.groups)
    assessed = ~np.isnan(predictions.targets).all(axis=1)
    groups = len(np.unique(numbers[assessed]))
    defined = [k for k, part in enumerate(parts) if not math.isnan(part.value)]
    missing = [str(part.label) for part in parts if math.isnan(part.value)]
    note = f"mean over {len(defined)} of {len(parts)} labels"
    if missing:
        note += f", without {listed(missing)}"
    score = Score(
        name=parts[0].name,
        label=None,
        value=float(np.mean([parts[k].value for k in defined])) if defined else math.nan,
        low=math.nan,
        high=math.nan,
        count=int(assessed.sum()),
        positives=None,
        groups=groups,
        note=note,
    )
    if not defined:
        return replace(score, note="not available: defined for no label")
    # a resample that lacks one of these labels is nan: a mean over others is another quantity
    mean = _mean_drawn([drawn[k] for k in defined])
    lacking = np.isnan(mean.values.reshape(len(mean.values), -1)).any(axis=1)
    whole = 1 - float(lacking.mean())
    if 1 - MOST_UNDEFINED > whole >= FEWEST_WHOLE:
        note += (
            f"; interval from the {whole:.0%} of resamples in which all of these labels occur: it "
            "may be too narrow"
        )
        mean = replace(mean, values=mean.values[~lacking])
    interval = mean.interval(groups)
    if interval.reason:
        return replace(score, note=f"{note}; interval not available: {interval.reason}")
    return replace(score, low=interval.low, high=interval.high, note=note)


def _mean_drawn(drawn: list[Drawn]) -> Drawn:
    """Of the mean over labels; a mean of sums of absolutes is the sum of all their terms."""
    if drawn[0].terms is None:
        return Drawn(values=np.mean([d.values for d in drawn], axis=0))
    terms = np.concatenate([d.terms for d in drawn if d.terms is not None])
    return Drawn(
        values=np.concatenate([d.values for d in drawn], axis=1) / len(drawn),
        terms=terms / len(drawn),
    )


def _why_undefined(rows: Rows) -> str:
    if len(rows.target) == 0:
        return "no image was assessed"
    if rows.target.ndim > 1:
        return "only one class occurs"
    return "every image is positive" if rows.target.all() else "no image is positive"


def write_metrics(
    path: Path, evaluations: Mapping[str, Evaluation], extra: Mapping[str, Any] | None = None
) -> None:
    """Write `metrics.json`: strict JSON, null where a number is not available.

    Args:
        extra: further top-level entries, such as provenance.
    """
    splits = {split: evaluation.to_json() for split, evaluation in evaluations.items()}
    content = {**(extra or {}), "schema": SCHEMA, "splits": splits}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def read_metrics(path: Path) -> dict[str, Evaluation]:
    """The evaluations by split that `write_metrics` left at `path`.

    Raises:
        DataError: the file is missing, damaged or of another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, this version reads {SCHEMA}")
        return {split: Evaluation.from_json(e) for split, e in content["splits"].items()}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a metrics.json: {error}") from error
